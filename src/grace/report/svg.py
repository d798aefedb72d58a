"""Figures as inline SVG: small, in the page's fonts and colours, without clashing names."""

from __future__ import annotations

import hashlib
import io
import re
import xml.etree.ElementTree as ET  # matplotlib's own output, never a reader's file

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Text

from grace.formatting import printable
from grace.plots.style import PALETTE

__all__ = ["SvgSheet"]

_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_VARIABLES = {tone.light: f"var(--{name})" for name, tone in PALETTE.items()}
_GEOMETRY = ("d", "x", "y", "width", "height", "transform", "points")


class SvgSheet:
    """Turns the figures of one page into SVG elements and collects the style rules they share.

    A strict content security policy allows no ``style`` attributes. Each distinct declaration
    becomes one class, used by all figures: safe, and much shorter.
    """

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._figures = 0

    @property
    def css(self) -> str:
        """The rules behind the classes in use so far."""
        return "".join(f".{name}{{{rule}}}\n" for rule, name in self._classes.items())

    def add(self, figure: Figure, description: str) -> Markup:
        """The figure as an ``<svg>`` element.

        Args:
            figure: drawn under :func:`grace.plots.figure_style`.
            description: what it shows, for those who cannot see it.
        """
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(printable(text.get_text()))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        root = ET.fromstring(buffer.getvalue())
        self._figures += 1
        self._tidy(root, f"f{self._figures}")
        width, height = (round(v * 72.0) for v in figure.get_size_inches())
        root.attrib = {
            "role": "img",
            "aria-label": printable(description),
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
        }
        return Markup(ET.tostring(root, encoding="unicode"))

    def _tidy(self, root: ET.Element, prefix: str) -> None:
        used = set(re.findall(r"#([\w-]+)", ET.tostring(root, encoding="unicode")))
        names: dict[str, str] = {}
        _drop(root, {"metadata", "style"})
        for element in root.iter():
            element.tag = _local(element.tag)
            element.tail = None
            if element.tag != "text":
                element.text = None
            attributes = {_local(k): v for k, v in element.attrib.items()}
            identity = attributes.pop("id", None)
            if identity is not None and identity in used:
                attributes["id"] = names.setdefault(identity, f"{prefix}-{len(names)}")
            style = attributes.pop("style", "")
            if style and (name := self._class(style, prefix)):
                attributes["class"] = name
            for key in _GEOMETRY:
                if key in attributes:
                    attributes[key] = _NUMBER.sub(_short, attributes[key]).replace("\n", "").strip()
            element.attrib = attributes
        for element in root.iter():
            for key in ("href", "clip-path"):
                if key in element.attrib:
                    element.attrib[key] = re.sub(
                        r"#([\w-]+)", lambda m: "#" + names[m[1]], element.attrib[key]
                    )
        _prune(root)

    def _class(self, style: str, prefix: str) -> str:
        parts = []
        for part in style.split(";"):
            key, _, value = (p.strip() for p in part.partition(":"))
            if not key or (key, value) in (("stroke-linejoin", "miter"), ("stroke-width", "0")):
                continue
            if key == "font":  # the page's own typeface, in this size and weight
                size = re.search(r"([\d.]+)px", value)
                weight = re.match(r"(bold|\d{3})\b", value)
                parts += [f"font-size:{size[1]}px"] if size else []
                parts += ["font-weight:600"] if weight else []
                continue
            parts.append(f"{key}:{_VARIABLES.get(value, value)}")
        rule = ";".join(parts)
        return self._classes.setdefault(rule, f"m{len(self._classes)}") if rule else ""


def style_hash(css: str) -> str:
    """What a content security policy calls this style sheet."""
    import base64

    return "sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _drop(element: ET.Element, tags: set[str]) -> None:
    for child in list(element):
        if _local(child.tag) in tags:
            element.remove(child)
        else:
            _drop(child, tags)


def _prune(element: ET.Element) -> None:
    """Remove groups that hold nothing and unwrap those that say nothing."""
    kept: list[ET.Element] = []
    for child in list(element):
        _prune(child)
        if child.tag in ("g", "defs") and len(child) == 0:
            continue
        if child.tag == "g" and not child.attrib:
            kept += list(child)
        else:
            kept.append(child)
    element[:] = kept

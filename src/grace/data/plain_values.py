"""Configurations as plain values: YAML is read within limits, and other types are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "check_plain", "parse_yaml", "read_yaml_text"]

MAX_BYTES = 1 << 20
"""Longest YAML file that is read."""
MAX_DEPTH = 32
"""Levels of sections and lists within each other."""
MAX_VALUES = 10_000
"""Values of a configuration, with everything that YAML aliases repeat."""
_MAX_TEXT = 10_000
_INT64 = 2**63


def check_plain(value: Any, key: str = "") -> None:
    """Check that a configuration consists of text, finite numbers, sections and lists only.

    Args:
        value: a mapping, list or scalar; pydantic models are checked by their fields.
        key: where it stands, for messages.

    Raises:
        ValueError: a number is infinite, NaN or beyond 64 bits, a value is of another type, text is
            not valid Unicode, or the whole is deeper than ``MAX_DEPTH`` (self-referring YAML is) or
            has more than ``MAX_VALUES`` values. The message names the key.

    Example:
        >>> check_plain({"training": {"lr": float("inf")}})
        Traceback (most recent call last):
        ValueError: training.lr = inf: the number must be finite
    """
    pending: list[tuple[Any, str, int]] = [(value, key, 0)]
    count = 0
    while pending:
        item, name, depth = pending.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise ValueError(
                f"{_short(name)}: nested more than {MAX_DEPTH} levels deep, or refers to itself"
            )
        if count > MAX_VALUES:
            raise ValueError(f"{_short(name)}: more than {MAX_VALUES} values")
        if isinstance(item, BaseModel):
            item = item.model_dump()
        if isinstance(item, Mapping):
            for inner, content in item.items():
                if not isinstance(inner, str):
                    raise ValueError(f"{_short(name)}: the key {inner!r} must be text")
                _check_scalar(inner, name)
                pending.append((content, f"{name}.{inner}" if name else inner, depth + 1))
        elif isinstance(item, (list, tuple)):
            if count + len(item) > MAX_VALUES:
                raise ValueError(f"{_short(name)}: more than {MAX_VALUES} values")
            pending += [(content, f"{name}.{i}", depth + 1) for i, content in enumerate(item)]
        else:
            _check_scalar(item, name)


def _check_scalar(value: Any, key: str) -> None:
    key = _short(key)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} = {value}: the number must be finite")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError(f"{key}: the integer must fit in 64 bits")
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise ValueError(f"{key}: text of {len(value)} characters; at most {_MAX_TEXT}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{key} = {value!r}: the text is not valid Unicode") from None
    if not (value is None or isinstance(value, (bool, int, float, str, Path))):
        kind = type(value).__name__
        raise ValueError(f"{key}: a value of type {kind}; use text, numbers, lists and sections")


def _short(key: str) -> str:
    """A key that fits on a line, printable on every terminal."""
    text = key.encode("ascii", "backslashreplace").decode() or "configuration"
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Loader(yaml.SafeLoader):
    """Plain values only, and a limit on what merge keys (``<<``) copy."""

    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} values by merge keys")


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, has a tag other than those of plain values, is nested more
            than ``MAX_DEPTH`` levels deep, or has a number or date that does not exist.

    Example:
        >>> parse_yaml("training: {lr: 0.001}")
        {'training': {'lr': 0.001}}
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep")
    try:
        return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader
    except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise yaml.YAMLError(f"a value cannot be read ({str(error)[:100]})") from error


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file, in UTF-8.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        yaml.YAMLError: it is longer than ``MAX_BYTES``.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise yaml.YAMLError(f"longer than {MAX_BYTES} bytes")
    return raw.decode("utf-8-sig")

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from grace.files import sha256_file
from grace.prediction import ArtifactError
from grace.prediction.artifact import read_artifact_json, write_artifact_json
from grace.report import overview_figure, write_report
from grace.report.page import SECTIONS

MakeRun = Callable[..., Path]
MARK = "test-selected, optimistic"
HOSTILE = "<script>alert('1')</script>"


class Page(HTMLParser):
    """What a reader's browser makes of the file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {"caption": [], "figcaption": [], "style": []}
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.open.append(tag)
            self.texts[tag].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data
        if "style" not in self.open:
            self.text += data + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


def read(folder: Path, **options: object) -> Page:
    path = write_report(folder, **options)  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page_folder(make_run: MakeRun) -> Path:
    return make_run()


@pytest.fixture(scope="module")
def page(page_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Of a validation-selected run."""
    path = write_report(page_folder, tmp_path_factory.mktemp("page") / "a.html")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def selected_folder(make_run: MakeRun) -> Path:
    return make_run(select_on="test")


@pytest.fixture(scope="module")
def selected(selected_folder: Path) -> Page:
    """Of a test-selected run."""
    return read(selected_folder)


@pytest.mark.parametrize("which", ["page", "selected"])
def test_every_section_is_there_and_linked(which: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(which)
    sections = [s["id"] for s in page.all("section")]
    assert sections == [s.id for s in SECTIONS]
    assert {f"#{s.id}" for s in SECTIONS} <= set(page.attributes("href"))


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    assert not page.attributes("src")
    assert not page.attributes("style"), "a strict policy forbids style attributes"
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert all(href.startswith("#") for href in page.attributes("href"))
    assert "http://" not in page.html
    assert "https://" not in page.html
    assert "@import" not in page.html
    assert not re.search(r"url\((?!#)", page.html)


def test_the_policy_knows_the_style_sheet(page: Page) -> None:
    [style] = page.texts["style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [m["content"] or "" for m in page.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy


def test_ids_are_unique_and_references_resolve(selected: Page) -> None:
    page = selected
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    wanted = {h.removeprefix("#") for h in page.attributes("href")}
    wanted |= set(re.findall(r"url\(#([\w-]+)\)", page.html))
    assert wanted <= set(ids)


def test_figures_are_described_and_follow_the_scheme(page: Page) -> None:
    figures = [s for s in page.all("svg") if s.get("role") == "img"]
    assert len(figures) >= 18
    assert all(len(s["aria-label"] or "") > 20 for s in figures)
    [style] = page.texts["style"]
    rules = style[style.index(".m0{") :]
    assert not re.search(r"#[0-9a-f]{6}", rules), "a colour of a figure ignores the scheme"
    assert "prefers-color-scheme:dark" in style
    assert "@media print" in style


def test_a_test_selected_run_is_marked_everywhere(selected: Page) -> None:
    page = selected
    captions = page.texts["caption"] + page.texts["figcaption"]
    assert len(captions) >= 24
    assert all(MARK in text for text in captions)
    assert all(MARK in (s["aria-label"] or "") for s in page.all("svg") if s.get("role") == "img")
    assert MARK in page.html[: page.html.index("</title>")]
    assert 'class="banner"' in page.html


def test_a_validation_selected_run_is_not_marked(page: Page) -> None:
    assert MARK not in page.text
    assert not any(s.get("class") == "banner" for s in page.all("aside"))


def test_numbers_are_those_of_the_metrics(selected: Page, selected_folder: Path) -> None:
    page, folder = selected, selected_folder
    content = json.loads((folder / "metrics.json").read_text())
    evaluation, validated = content["evaluation"], content["validation_selected"]
    last = evaluation["model"]["last_cycle"]
    capped = last["capped"]
    interval = capped["intervals"]["rmse"]
    lead = page.text[page.text.index("From the last record") :][:300]
    assert f"RMSE of {capped['rmse']:.2f} cycles" in lead
    assert f"{interval['low']:.2f} to {interval['high']:.2f}" in lead
    for value in (
        last["raw"]["rmse"],
        evaluation["model"]["all_cycles"]["capped"]["rmse"],
        evaluation["baselines"]["gradient_boosting"]["last_cycle"]["capped"]["rmse"],
        evaluation["baselines"]["constant"]["last_cycle"]["raw"]["rmse"],
        validated["model"]["last_cycle"]["capped"]["rmse"],
        *(zone["rmse"] for zone in evaluation["zones"]),
    ):
        assert f"{value:.2f}" in page.text
    gap = validated["optimism_gap"]["rmse_capped"]
    assert f"{gap:+.2f}".replace("-", "−") in page.text
    matrix = evaluation["model"]["health_last_cycle"]["confusion"]
    assert f"{matrix[2][2]} of {sum(matrix[2])} units" in page.text


def test_hostile_names_stay_text(page: Page) -> None:
    assert not page.all("script")
    assert not page.all("b")
    assert HOSTILE in page.text
    assert "&lt;script&gt;alert" in page.html
    assert "Nobody, <script>2024</script>" in page.text
    assert "FD<i>1" in page.text


def test_all_units_are_ranked_the_most_urgent_first(page: Page) -> None:
    ranked = page.html[page.html.index('id="units"') : page.html.index('id="time"')]
    values = [float(v) for v in re.findall(r'class="n strong">([\d.]+)<', ranked)]
    assert len(values) == 20
    assert values == sorted(values)
    assert ranked.count("<details>") == 1


@pytest.mark.usefixtures("undrawn")
def test_flags_are_shown(make_run: MakeRun) -> None:
    folder = make_run()
    content = json.loads((folder / "metrics.json").read_text())
    flag = {"code": "implausibly_low", "severity": "warning", "message": "A leak <b>or</b> a bug."}
    content["evaluation"]["flags"] = [flag]
    (folder / "metrics.json").write_text(json.dumps(content))
    description = read_artifact_json(folder)
    description["files"]["metrics.json"] = sha256_file(folder / "metrics.json")
    write_artifact_json(folder, description)
    page = read(folder)
    assert "A leak <b>or</b> a bug." in page.text
    assert any(a.get("class") == "flag warning" for a in page.all("aside"))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"logs": False}, "has no log of its steps"),
        ({"baselines": False}, "made without baselines"),
        ({"health": False}, "no health predictions"),
        ({"unknown": 3}, "3 units not evaluated"),
    ],
)
def test_what_is_missing_is_said(make_run: MakeRun, options: dict[str, object], said: str) -> None:
    page = read(make_run(**options))
    assert [s["id"] for s in page.all("section")] == [s.id for s in SECTIONS]
    assert said in page.text


@pytest.mark.usefixtures("undrawn")
def test_empty_provenance_is_no_obstacle(make_run: MakeRun) -> None:
    folder = make_run()
    description = read_artifact_json(folder)
    write_artifact_json(folder, {**description, "provenance": {}, "environment": {}})
    assert "Protocol and provenance" in read(folder).text
    del description["config"]
    write_artifact_json(folder, description)
    with pytest.raises(ArtifactError, match=r"artifact\.json: cannot be used \(config: "):
        read(folder)


def test_the_same_folder_gives_the_same_bytes_whatever_the_settings_of_matplotlib(
    page: Page, page_folder: Path, tmp_path: Path
) -> None:
    with matplotlib.rc_context({"axes.facecolor": "pink", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        b = write_report(page_folder, tmp_path / "deep" / "b.html")
        assert dict(matplotlib.rcParams) == before
    assert b.read_bytes() == page.html.encode()
    assert not list(page_folder.glob("*.html"))
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.usefixtures("undrawn")
def test_units_can_be_named(make_run: MakeRun) -> None:
    page = read(make_run(), units=["pump 9", "$x^{"])
    over_time = page.html[page.html.index('id="time"') : page.html.index('id="sorted"')]
    assert over_time.count("<figure") == 2
    assert "Unit pump 9." in over_time
    assert "Unit $x^{." in over_time


def test_an_unknown_unit_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(ArtifactError, match=r"no test unit 99.*Remedy: choose from the 20"):
        write_report(make_run(), units=[99])


def test_unusable_folders_are_named(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"artifact\.json: no such file"):
        write_report(tmp_path)
    for name in ("metrics.json", "predictions.parquet"):
        folder = make_run()
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=rf"{name}: is missing.*Remedy"):
            write_report(folder)
        (folder / name).write_text("nonsense")
        with pytest.raises(ArtifactError, match=rf"{name}: SHA-256 is"):
            write_report(folder)


@pytest.mark.parametrize("options", [{}, {"select_on": "test"}, {"health": False, "unknown": 2}])
def test_the_picture_has_its_size(
    make_run: MakeRun, tmp_path: Path, options: dict[str, object]
) -> None:
    path = overview_figure(make_run(**options), tmp_path / "new" / "run.png")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")) == (1600, 900)


@pytest.mark.parametrize("gaba", [True, False])
def test_values_the_logs_could_not_hold_leave_a_gap(
    make_run: MakeRun, gaba: bool, request: pytest.FixtureRequest
) -> None:
    if not gaba:  # drawn once: the two differ in a single figure
        request.getfixturevalue("undrawn")
    folder = make_run()
    for name in ("telemetry.jsonl", "history.jsonl"):
        path = folder / name
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            if not gaba:
                record.pop("lambda_raw", None)
        for key, value in records[1].items():
            if key in ("epoch", "step", "floor_active", "lr", "seconds"):
                continue
            empty: object = None
            if isinstance(value, list):
                empty = [None] * len(value)
            elif isinstance(value, dict):
                empty = dict.fromkeys(value)
            records[1][key] = empty
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "Gradient balance." in page.text
    assert ("Task weight." if gaba else "Task weights.") in page.text

"""The commands and the code of the README and the guides work."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import grace
from grace.cli import app

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # installed with mypy

ROOT = Path(__file__).parents[1]
RAW = "https://raw.githubusercontent.com/grace-rul/grace/main/"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[str]:
    lines = []
    for page in PAGES:
        for block in blocks(page, ""):
            whole = block.replace("\\\n", " ").splitlines()
            lines += [x.split("#")[0].strip() for x in whole if x.startswith("grace ")]
    return sorted(set(lines))


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_pages_parse(line: str) -> None:
    command, args = get_command(app), shlex.split(line)[1:]
    context = command.make_context("grace", args[:1], resilient_parsing=True)
    while args and hasattr(command, "commands"):
        assert args[0] in command.commands, line
        command, args = command.commands[args[0]], args[1:]
    command.make_context("grace", args, parent=context)  # refuses unknown options


@pytest.mark.slow
@pytest.mark.usefixtures("small_simulation")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_of_the_pages_runs_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith(RAW):  # absolute, so that a package index can show it
                assert (ROOT / target.removeprefix(RAW)).exists(), f"{page.name}: {target}"
            elif not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_images_of_the_readme_have_absolute_addresses() -> None:
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGES[0].read_text(encoding="utf-8"))
    assert images
    assert all(image.startswith(RAW) for image in images)


def test_extras_of_the_pages_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^EXTRAS := (.+)$", makefile, re.MULTILINE)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named += re.findall(r"(?:\.|grace-rul)\[([\w,]+)\]", text)
    assert {x for group in named for x in group.split(",")} <= set(extras)


def test_the_package_metadata_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == grace.__version__
    assert f"## [{grace.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["repository-code"] == project["urls"]["Homepage"]
    assert RAW.startswith(
        project["urls"]["Source"].replace("https://github.com", "https://raw.githubusercontent.com")
    )


def test_the_hosted_checks_run_the_ci_script() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    assert {"run": ".ci/run"} in steps
    assert {"run": "make docs"} in workflow["jobs"]["docs"]["steps"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]


def test_make_targets_of_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"^make ([\w-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")

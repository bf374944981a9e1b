"""The guide keeps its promises: links lead somewhere, pictures exist, console recipes run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "Docs").glob("*.md")])
RECIPES = [
    (page, code)
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if page.parent.name == "Docs"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}, which does not exist"


@pytest.mark.slow
@pytest.mark.panel
@pytest.mark.xdist_group("panels")
@pytest.mark.parametrize(("page", "code"), RECIPES, ids=lambda value: getattr(value, "stem", ""))
def test_console_recipe_runs_as_written(page, code, open_module):
    """In Slicer's console `slicer` is there, and every module of the extension is installed."""
    import slicer

    for module in ("MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"):
        if (REPOSITORY / module / f"{module}.py").exists():
            open_module(module)
    exec(compile(code, str(page), "exec"), {"slicer": slicer})


def test_there_are_recipes():
    assert RECIPES

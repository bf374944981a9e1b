"""The guide keeps its promises: links lead somewhere, pictures exist, console recipes run as written."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
GUIDE = REPOSITORY / "Docs"
PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *GUIDE.rglob("*.md")])
RECIPES = [
    (page, code)
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}, which does not exist"


def sentences_of_the_program() -> str:
    """Every text in the sources but docstrings, with {} where a value is put in."""
    found = []
    for module in ("SpineMotionTools", "MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"):
        for path in (REPOSITORY / module).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            for node in nodes:
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    found.append(node.value)
    return "\n".join(found)


def test_every_message_explained_is_one_of_the_program():
    said, explained = sentences_of_the_program(), 0
    for page in PAGES:
        for rows in re.findall(r"^\| message \|.*\n\|[-| ]+\n((?:\|.*\n)+)", page.read_text(encoding="utf-8"), re.M):
            for message in (row.split("|")[1].strip().strip("*") for row in rows.splitlines()):
                explained += 1
                for part in re.split(r"\.\.\.| / |: ", message):
                    assert part.strip(" ,:") in said, f"{page.name}: {message!r}: nothing says {part!r}"
    assert explained > 40


TERMINAL_LINES = [
    (page, line.split("#")[0].strip())
    for page in PAGES
    for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("spinemotion ")
]


@pytest.mark.parametrize(("page", "line"), TERMINAL_LINES, ids=lambda value: getattr(value, "stem", ""))
def test_commands_of_the_guide_are_understood(page, line):
    """Names of commands and options are those of the program."""
    from SpineMotionToolsLib.cli import parser_for

    arguments = line.split()[1:]
    if "--help" in arguments:
        with pytest.raises(SystemExit, match="0"):
            parser_for(arguments).parse_args(arguments)
    else:
        assert parser_for(arguments).parse_args(arguments).run


@pytest.mark.parametrize("page", [REPOSITORY / "Makefile", *PAGES], ids=lambda page: page.name)
def test_programs_that_are_named_can_be_run(page):
    """`python -m package` needs a `__main__`."""
    for name in re.findall(r"python(?:\.exe)? -m ([\w.]+)", page.read_text(encoding="utf-8")):
        if name.split(".")[0] in ("SpineMotionToolsLib", "Testing", "benchmarks"):
            found = importlib.util.find_spec(name)
            package = found is not None and found.submodule_search_locations is not None
            assert importlib.util.find_spec(f"{name}.__main__") if package else found, f"{page.name}: {name}"


def test_sizes_of_the_models_that_ship_are_true():
    from SpineMotionToolsLib.common.catalogue import catalogue

    page = (GUIDE / "models.md").read_text(encoding="utf-8")
    for entry in (each for each in catalogue().values() if each.starter):
        (told,) = re.findall(rf"\| `{entry.id}` \|[^|]*\| ([\d.]+) MB \|", page)
        size = sum(path.stat().st_size for path in entry.paths) / 1e6
        assert float(told) == pytest.approx(size, rel=0.15), entry.id


TABLES_OF_RESULTS = (
    "gait/results.py", "keypoints/exports.py", "keypoints/results.py", "motion/results.py",
    "movements/results.py", "spinenet/measured.py", "spinenet/results.py",
)  # fmt: skip


def test_every_column_is_explained():
    from SpineMotionToolsLib.motion import batch, grade_exports
    from SpineMotionToolsLib.spinenet.grades import HEAD_OF_COLUMN

    names = {*grade_exports.EXPORT_COLUMNS, *grade_exports.EXTRA_COLUMNS, *HEAD_OF_COLUMN}
    names |= {name for name in batch.SUMMARY_NUMBERS if not name.startswith("mean_probability_")}
    for file in TABLES_OF_RESULTS:
        source = REPOSITORY / "SpineMotionTools" / "SpineMotionToolsLib" / file
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Column" and node.args:
                names |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    page = (GUIDE / "columns.md").read_text(encoding="utf-8")
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_every_page_is_in_the_index():
    index = (GUIDE / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(GUIDE).as_posix() for page in GUIDE.rglob("*.md") if page != GUIDE / "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_every_picture_is_shown_on_a_page():
    """But those of a narrow panel in dark style, which are made to be looked at by developers."""
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES) + (REPOSITORY / "CMakeLists.txt").read_text(
        encoding="utf-8"
    )
    pictures = [path.name for path in (GUIDE / "pictures").glob("*.png") if "narrow-dark" not in path.name]
    assert [name for name in pictures if name not in shown] == []


def test_headings_that_are_linked_exist():
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([\w/.-]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
            text = ((page.parent / name) if name else page).read_text(encoding="utf-8")
            headings = [re.sub(r"[^\w -]", "", line.lstrip("# ")).lower() for line in re.findall(r"^#+ .*", text, re.M)]
            assert anchor in [heading.replace(" ", "-") for heading in headings], f"{page.name}: {name}#{anchor}"


def test_tests_named_in_the_checklist_exist():
    text = (GUIDE / "ExtensionsIndex" / "checklist.md").read_text(encoding="utf-8")
    sources = {path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "Testing").glob("test_*.py")}
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in source for source in sources.values()), name
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert name in sources


@pytest.mark.slow
@pytest.mark.panel
@pytest.mark.parametrize(("page", "code"), RECIPES, ids=lambda value: getattr(value, "stem", ""))
def test_console_recipe_runs_as_written(page, code, open_module):
    """In Slicer's console `slicer` is there, every module of the extension is installed, and a scan is loaded."""
    import slicer
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.scene import motion

    for module in ("MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"):
        if (REPOSITORY / module / f"{module}.py").exists():
            open_module(module)
    scan = read_scan(REPOSITORY / "MotionScore" / "Resources" / "Data" / "phantom.AIM")
    motion.add_scan(slicer.mrmlScene, scan.array, scan.ijk_to_ras, "C0001234", scan.unit, scan.calibration)
    exec(compile(code, str(page), "exec"), {"slicer": slicer})


def test_there_are_recipes():
    assert RECIPES

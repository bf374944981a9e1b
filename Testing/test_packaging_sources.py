"""Rules for the sources: what modules may import and run on import, floors, file sizes, PythonQt's ways."""

import ast
import enum
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from Testing import packaging_lists

REPOSITORY = packaging_lists.REPOSITORY
MODULE_FILES = [
    path for path in (folder / f"{folder.name}.py" for folder in packaging_lists.module_folders()) if path.is_file()
]
PANEL_FILES = sorted(
    path
    for folder in packaging_lists.module_folders()
    for path in folder.rglob("*.py")
    if "SpineMotionToolsLib" not in path.parts
)
LIBRARY = REPOSITORY / "SpineMotionTools" / "SpineMotionToolsLib"
LONGEST_FILE = 400  # lines, give or take a few
LONGER_BY_REASON: dict[str, str] = {}  # path -> why it cannot be split
AT_FILE_SCOPE = {"numpy", "vtk", "qt", "ctk", "slicer"}
# Names that pull in torch and other packages which Slicer does not bundle.
HEAVY = ("torch", "lightning", "cv2", "av", "h5py", "pydicom", "highdicom", "SimpleITK", "scipy", "PIL")


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def sources() -> list[Path]:
    skipped = {".venv", "build", "demo", "__pycache__", "cases"}
    return sorted(path for path in REPOSITORY.rglob("*.py") if not skipped & set(path.relative_to(REPOSITORY).parts))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


# ---- import and file scope -----------------------------------------------------------------------------------------
def imports_at_file_scope(path: Path) -> set[str]:
    """The packages a file imports when it is loaded; not those under `if TYPE_CHECKING:`."""
    found = set()
    for node in parse(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", MODULE_FILES, ids=relative)
def test_modules_import_only_what_every_slicer_has(path):
    own = {each.name for folder in packaging_lists.module_folders() for each in folder.iterdir() if each.is_dir()}
    foreign = imports_at_file_scope(path) - set(sys.stdlib_module_names) - AT_FILE_SCOPE - own
    assert foreign == set()


@pytest.mark.parametrize("path", MODULE_FILES, ids=relative)
def test_modules_run_nothing_on_import(path):
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign)
    for node in parse(path).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        assert docstring or type_checking or isinstance(node, allowed), f"line {node.lineno} runs on import"
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
            plain = [call for call in calls if getattr(call.func, "id", "") in ("frozenset", "Path", "set", "tuple")]
            assert calls == plain, f"line {node.lineno} calls a function on import"


PROBE = """
import sys
before = set(sys.modules)
sys.path[:0] = {folders!r}
import {module}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(len(set(sys.modules) - before), *sorted(loaded & set({heavy!r})))
"""


def probe(module: str) -> tuple[int, list[str]]:
    """How many Python modules an import adds in a fresh process, and which heavy packages."""
    folders = [str(folder) for folder in packaging_lists.module_folders()]
    code = PROBE.format(folders=folders, module=module, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    count, *heavy = done.stdout.split()
    return int(count), heavy


def library_modules() -> list[str]:
    names = []
    for path in sorted(LIBRARY.rglob("*.py")):
        name = ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")
        if path.stem not in ("__main__", "worker") and "networks" not in path.stem and "training" not in path.stem:
            names.append(name)
    return names


def test_importing_the_library_is_cheap():
    """numpy itself brings some 120 modules; the rooms must not add packages that take long to load."""
    without_vtk = [name for name in library_modules() if ".scene" not in name]
    allowed_numpy, _ = probe("numpy")
    rooms = [name for name in without_vtk if name.count(".") == 1] + ["SpineMotionToolsLib"]
    for name in rooms:
        count, heavy = probe(name)
        assert heavy == [], f"import {name} loads {heavy}"
        assert count < allowed_numpy + 260, f"import {name} loads {count} Python modules"


DOORS = {"__init__", "pipeline", "inputs", "results", "tasks", "commands", "cli", "demo"}


def file_of(name: str) -> Path | None:
    """The library file of a dotted module name."""
    path = LIBRARY.parent.joinpath(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def library_files_imported(path: Path) -> set[Path]:
    """The library files that a library file loads when it is loaded itself."""
    found = set()
    for node in parse(path).body:
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("SpineMotionToolsLib"):
            found |= {file_of(node.module), *(file_of(f"{node.module}.{alias.name}") for alias in node.names)}
    return {each for each in found if each is not None}


def test_no_door_of_the_library_loads_heavy_packages():
    """Pipelines, results, tasks, commands and scene writers load at once; networks wait until they are called."""
    for door in LIBRARY.rglob("*.py"):
        if door.stem in DOORS or door.parent.name == "scene":
            seen, waiting = set(), [door]
            while waiting:
                path = waiting.pop()
                if path not in seen:
                    seen.add(path)
                    waiting.extend(library_files_imported(path))
            heavy = {relative(path): imports_at_file_scope(path) & set(HEAVY[:7]) for path in seen}
            assert {name: loads for name, loads in heavy.items() if loads} == {}, f"loaded by {relative(door)}"


@pytest.mark.panel
def test_opening_the_modules_loads_no_torch():
    code = f"""
import sys
from Testing import headless
for name in {[path.stem for path in MODULE_FILES]!r}:
    headless.open_module(name)
print(*[name for name in ("torch", "lightning", "cv2") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, timeout=240, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_floors_are_kept():
    command = Path(sys.executable).with_name("lint-imports")
    if importlib.util.find_spec("importlinter") is None or not command.exists():
        pytest.skip("needs import-linter")
    done = subprocess.run(
        [str(command), "--no-cache"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        cwd=REPOSITORY,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- the sources ---------------------------------------------------------------------------------------------------
def test_no_file_holds_two_rooms():
    """About 400 lines a file: a few more are no reason to split, 440 are. Tests may be long lists of cases."""
    product = [path for path in sources() if not relative(path).startswith("Testing/")]
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in product}
    too_long = {name: length for name, length in lengths.items() if length > 1.1 * LONGEST_FILE}
    assert set(too_long) == set(LONGER_BY_REASON), too_long


def test_text_files_are_opened_as_utf8():
    """Windows and an application that has set the C locale would otherwise read them in their own encoding."""
    found = []
    for path in sources():
        for node in ast.walk(parse(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            place = {"read_text": 0, "write_text": 1}.get(node.func.attr)  # where `encoding` stands among the arguments
            if place is not None and len(node.args) <= place and "encoding" not in {k.arg for k in node.keywords}:
                found.append(f"{relative(path)}:{node.lineno}")
    assert not found, f'Name the encoding ("utf-8") of these files: {", ".join(found)}.'


def test_sources_are_utf8_with_unix_line_ends():
    assert [relative(path) for path in sources() if b"\r\n" in path.read_bytes()] == []


# ---- PythonQt ------------------------------------------------------------------------------------------------------
def enum_of_qt(node: ast.Attribute) -> bool:
    """Whether `node` is `qt.<Class>.<Enum>`, an enumeration that PythonQt does not put between class and value."""
    from PySide6 import QtCore, QtGui, QtWidgets

    owner = node.value
    if not (isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "qt"):
        return False
    for module in (QtCore, QtGui, QtWidgets):
        found = getattr(getattr(module, owner.attr, None), node.attr, None)
        if isinstance(found, enum.EnumMeta):
            return True
    return False


@pytest.mark.parametrize("path", PANEL_FILES, ids=relative)
def test_panels_speak_pythonqt(path):
    """What works in PySide6 only: scoped enumerations, keyword arguments of constructors, overloads by brackets."""
    pytest.importorskip("PySide6")
    for node in ast.walk(parse(path)):
        where = f"{relative(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            assert not enum_of_qt(node.value), f"{where}: write qt.{node.value.value.attr}.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in ("qt", "ctk"):
                assert not node.keywords, f"{where}: PythonQt ignores keyword arguments"
            by_bracket = node.func.attr in ("connect", "disconnect") and isinstance(owner, ast.Subscript)
            assert not by_bracket, f"{where}: PythonQt has no signal[type]"
            assert node.func.attr not in ("sizeHint", "minimumSizeHint"), f"{where}: a property in PythonQt"


@pytest.mark.parametrize("path", PANEL_FILES, ids=relative)
def test_texts_can_be_translated(path):
    """`_()` takes a literal text: no f-string inside, and `_` is not used for values nobody wants."""
    for node in ast.walk(parse(path)):
        where = f"{relative(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert isinstance(node.args[0], ast.Constant), f"{where}: _() needs a literal text"
        if isinstance(node, ast.Name) and node.id == "_":
            assert isinstance(node.ctx, ast.Load), f"{where}: `_` is the translation here"

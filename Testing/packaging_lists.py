"""Keeps the explicit file lists of the CMakeLists.txt files: Slicer packages listed files only.

    python -m Testing.packaging_lists            # say what is missing or stale; exit status 1 if anything is
    python -m Testing.packaging_lists --write    # rewrite the lists between their markers, make missing CMakeLists.txt

A module is a folder with a `<Name>/<Name>.py`, or the folder that holds the shared package. Scripts are all its `.py`
files, resources all its other files; test folders and caches are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE_OWNER = "SpineMotionTools"  # the module whose folder holds SpineMotionToolsLib
LEFT_OUT = {"CMakeLists.txt", "Testing", "__pycache__"}
TEMPLATE = """set(MODULE_NAME {name})

set(MODULE_PYTHON_SCRIPTS
  # BEGIN scripts: python -m Testing.packaging_lists --write
  # END scripts
  )

set(MODULE_PYTHON_RESOURCES
  # BEGIN resources: python -m Testing.packaging_lists --write
  # END resources
  )

slicerMacroBuildScriptedModule(
  NAME ${{MODULE_NAME}}
  SCRIPTS ${{MODULE_PYTHON_SCRIPTS}}
  RESOURCES ${{MODULE_PYTHON_RESOURCES}}
  WITH_GENERIC_TESTS
  )

if(BUILD_TESTING)
  slicer_add_python_unittest(SCRIPT ${{MODULE_NAME}}.py SLICER_ARGS --no-main-window)
endif()
"""


def module_folders(repository: Path = REPOSITORY) -> list[Path]:
    """The module folders, the shared package's first."""
    names = {path.parent.name for path in repository.glob("*/*.py") if path.stem == path.parent.name}
    if (repository / PACKAGE_OWNER / f"{PACKAGE_OWNER}Lib").is_dir():
        names.add(PACKAGE_OWNER)
    return [repository / name for name in sorted(names, key=lambda name: (name != PACKAGE_OWNER, name))]


def packaged_files(folder: Path) -> tuple[list[str], list[str]]:
    """Scripts and resources of a module, as paths relative to its folder."""
    scripts, resources = [], []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part in LEFT_OUT or part.startswith(".") or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not hidden:
            (scripts if path.suffix == ".py" else resources).append("/".join(parts))
    return scripts, resources


def _entries(name: str, files: list[str]) -> list[str]:
    """Lines of a list, with the module's name as a variable, its own file first."""
    ordered = sorted(files, key=lambda file: (file != f"{name}.py", file))
    renamed = []
    for file in ordered:
        head, _, rest = file.partition("/")
        if head in (f"{name}.py", f"{name}Lib"):
            file = file.replace(name, "${MODULE_NAME}", 1)
        elif head == "Resources" and Path(rest).stem == name:
            file = f"Resources/{Path(rest).parent.as_posix()}/${{MODULE_NAME}}{Path(rest).suffix}"
        renamed.append(f"  {file}\n")
    return renamed


def _between_markers(text: str, kind: str, lines: list[str]) -> str:
    """Replace what stands between `# BEGIN <kind>` and `# END <kind>`."""
    begin = text.index(f"# BEGIN {kind}")
    start = text.index("\n", begin) + 1
    end = text.rindex("\n", 0, text.index(f"# END {kind}")) + 1
    return text[:start] + "".join(lines) + text[end:]


def module_lists(folder: Path) -> str:
    """The module's CMakeLists.txt as it should be."""
    path = folder / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else TEMPLATE.format(name=folder.name)
    scripts, resources = packaged_files(folder)
    text = _between_markers(text, "scripts", _entries(folder.name, scripts))
    return _between_markers(text, "resources", _entries(folder.name, resources))


def top_lists(repository: Path = REPOSITORY) -> str:
    """The top CMakeLists.txt as it should be."""
    text = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    lines = [f"add_subdirectory({folder.name})\n" for folder in module_folders(repository)]
    return _between_markers(text, "modules", lines)


def outdated(repository: Path = REPOSITORY) -> dict[Path, str]:
    """The CMakeLists.txt files that differ from what they should be, with their right contents."""
    wanted = {folder / "CMakeLists.txt": module_lists(folder) for folder in module_folders(repository)}
    wanted[repository / "CMakeLists.txt"] = top_lists(repository)
    return {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite the lists")
    options = parser.parse_args(arguments)
    changes = outdated()
    for path, text in changes.items():
        if options.write:
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{'rewritten' if options.write else 'outdated'}: {path.relative_to(REPOSITORY)}")
    if changes and not options.write:
        print("Run: python -m Testing.packaging_lists --write")
    return int(bool(changes) and not options.write)


if __name__ == "__main__":
    sys.exit(main())

"""Our CMake files configure, and list every file that users need: what is not listed is not packaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing import packaging_lists

REPOSITORY = packaging_lists.REPOSITORY
STUB = REPOSITORY / "Testing" / "slicer_cmake"


@pytest.fixture(scope="module")
def cmake():
    try:
        from cmake import CMAKE_BIN_DIR

        found = shutil.which("cmake", path=CMAKE_BIN_DIR)
    except ImportError:
        found = shutil.which("cmake")
    return found or pytest.skip("needs cmake: pip install cmake")


@pytest.fixture
def configure(cmake, tmp_path):
    """Configure a source folder against the stand-in for Slicer; returns exit status and output."""

    def run(source: Path):
        command = [cmake, "-S", str(source), "-B", str(tmp_path / "build"), f"-DSlicer_DIR={STUB}"]
        # Nothing is compiled: neither a compiler nor make has to be there.
        command += ["-G", "Unix Makefiles", f"-DCMAKE_MAKE_PROGRAM={sys.executable}"]
        for language in ("C", "CXX"):
            settings = {"COMPILER": sys.executable, "COMPILER_FORCED": "1", "COMPILER_ID_RUN": "1"}
            command += [f"-DCMAKE_{language}_{name}={value}" for name, value in settings.items()]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def small_copy(tmp_path):
    """A copy of the CMake files with one module, so that a test may spoil it."""
    copy = tmp_path / "source"
    name = packaging_lists.module_folders()[-1].name
    copy.mkdir()
    for line in (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.startswith("add_subdirectory(") or name in line:
            with open(copy / "CMakeLists.txt", "a", encoding="utf-8") as file:
                file.write(line)
    shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy / name


def test_the_extension_configures(configure):
    status, output = configure(REPOSITORY)
    assert status == 0, output
    for folder in packaging_lists.module_folders():
        assert f"module {folder.name}" in output


def test_the_lists_are_up_to_date():
    outdated = [str(path.relative_to(REPOSITORY)) for path in packaging_lists.outdated()]
    assert outdated == [], "run: python -m Testing.packaging_lists --write"


@pytest.mark.parametrize(
    "forgotten",
    ["Extra.py", "Resources/UI/Extra.ui", "Resources/Icons/Extra.png", "Lib/model.safetensors", "Lib/card.md"],
)
def test_a_forgotten_file_stops_the_configuration(configure, small_copy, forgotten):
    path = small_copy / forgotten
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")
    status, output = configure(small_copy.parent)
    assert status != 0
    assert f"present but not listed, so it would not be packaged: {forgotten}" in " ".join(output.split())


def test_a_listed_file_that_is_gone_stops_the_configuration(configure, small_copy):
    os.remove(small_copy / f"{small_copy.name}.py")
    status, output = configure(small_copy.parent)
    assert status != 0
    assert f"listed but missing: {small_copy.name}.py" in " ".join(output.split())


def test_the_lists_can_be_rewritten(configure, small_copy):
    (small_copy / "Lib").mkdir(exist_ok=True)
    (small_copy / "Lib" / "new.py").write_text("", encoding="utf-8")
    (small_copy / "Lib" / "weights.safetensors").write_text("", encoding="utf-8")
    text = packaging_lists.module_lists(small_copy)
    (small_copy / "CMakeLists.txt").write_text(text, encoding="utf-8")
    assert "  Lib/new.py\n" in text.split("# END scripts")[0]
    assert "  Lib/weights.safetensors\n" in text.split("# END scripts")[1]
    status, output = configure(small_copy.parent)
    assert status == 0, output


def test_a_new_module_gets_its_cmake_file(tmp_path):
    (tmp_path / "NewModule" / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "NewModule" / "NewModule.py").write_text("", encoding="utf-8")
    (tmp_path / "NewModule" / "Resources" / "UI" / "NewModule.ui").write_text("", encoding="utf-8")
    (tmp_path / "NewModule" / "Resources" / "requirements.txt").write_text("", encoding="utf-8")
    shutil.copy(REPOSITORY / "CMakeLists.txt", tmp_path)
    written = packaging_lists.outdated(tmp_path)
    text = written[tmp_path / "NewModule" / "CMakeLists.txt"]
    assert text.startswith("set(MODULE_NAME NewModule)\n")
    assert "  Resources/UI/${MODULE_NAME}.ui\n  Resources/requirements.txt\n" in text
    assert "add_subdirectory(NewModule)\n" in written[tmp_path / "CMakeLists.txt"]

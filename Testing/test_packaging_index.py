"""The rules of Slicer's Extensions Index that can be checked without a network."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from Testing import packaging_lists

REPOSITORY = packaging_lists.REPOSITORY
ENTRY = REPOSITORY / "Docs" / "ExtensionsIndex" / "SpineMotionTools.json"
OWNER_URL = "https://github.com/SpineMotionTools/SlicerSpineMotionTools"
RAW_URL = "https://raw.githubusercontent.com/SpineMotionTools/SlicerSpineMotionTools/main/"
KNOWN_KEYS = {
    "$schema",
    "build_dependencies",
    "build_subdirectory",
    "category",
    "dicom_support_rule",
    "enabled",
    "scm_revision",
    "scm_type",
    "scm_url",
    "tier",
}
CATEGORIES = {  # of those the index accepts, the ones that could be ours
    "Analysis",
    "IGT",
    "Informatics",
    "Neuroimaging",
    "Quantification",
    "Registration",
    "Segmentation",
    "Sequences",
    "Shape Analysis",
    "Utilities",
}
LICENSE_NAMES = {"LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt"}
LARGEST_REPOSITORY = 100e6  # bytes checked out, .git included
LARGEST_FILE = 10e6  # bytes; larger data belongs to a release
REPOSITORY_PREFIXES = ("Slicer", "Slicer-", "Slicer_", "SlicerExtension-", "SlicerExtension_")


@pytest.fixture(scope="module")
def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cmake():
    return (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")


def cmake_value(text: str, name: str) -> str:
    """The value of `set(NAME "value")`, which must stand on one line."""
    found = re.findall(rf'^set\({name} "([^"\n]*)"\)', text, re.MULTILINE)
    assert len(found) == 1, f"{name} is not set exactly once on one line"
    return found[0]


# ---- the entry -----------------------------------------------------------------------------------------------------
def test_the_entry_is_formatted_as_prettier_does(entry):
    raw = ENTRY.read_bytes()
    assert b"\r" not in raw
    assert b"\t" not in raw
    assert raw.endswith(b"}\n")
    lines = json.dumps(entry, indent=2)
    lines = re.sub(r"\[\s+([^]]*?)\s+\]", lambda match: "[" + re.sub(r"\s+", " ", match[1]) + "]", lines)
    assert raw.decode() == lines + "\n"


def test_the_entry_has_known_keys_and_types(entry):
    assert {"$schema", "category", "scm_url"} <= set(entry) <= KNOWN_KEYS
    version = re.fullmatch(r"https://raw\.githubusercontent\.com/.*-schema-v(\d\.\d\.\d)\.json#", entry["$schema"])
    assert version
    assert version[1] in {"1.0.0", "1.0.1", "1.0.2"}
    assert entry["tier"] in range(1, 6)
    assert all(isinstance(name, str) for name in entry["build_dependencies"])


def test_the_category_is_accepted(entry):
    assert entry["category"] in CATEGORIES


def test_names_follow_the_index(entry):
    assert not ENTRY.stem.lower().startswith("slicer")
    assert entry["scm_url"] == OWNER_URL
    repository = entry["scm_url"].rsplit("/", 1)[1]
    assert any(repository == prefix + ENTRY.stem for prefix in REPOSITORY_PREFIXES)


# ---- the repository ------------------------------------------------------------------------------------------------
def test_cmake_and_entry_agree(entry, cmake):
    assert re.search(r"^project\(([A-Za-z]+)", cmake, re.MULTILINE)[1] == ENTRY.stem
    assert cmake_value(cmake, "EXTENSION_HOMEPAGE") == entry["scm_url"]
    assert cmake_value(cmake, "EXTENSION_CATEGORY") == entry["category"]
    depends = cmake_value(cmake, "EXTENSION_DEPENDS").split()
    assert depends == (entry["build_dependencies"] or ["NA"])


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_extension_exist(cmake, name):
    from PIL import Image

    for url in cmake_value(cmake, name).split():
        assert url.startswith(RAW_URL)
        with Image.open(REPOSITORY / url.removeprefix(RAW_URL)) as picture:
            assert picture.format in ("PNG", "JPEG", "GIF")
            if name == "EXTENSION_ICONURL":
                assert picture.size == (128, 128)


def test_the_description_is_one_line_that_says_what_for(cmake):
    description = cmake_value(cmake, "EXTENSION_DESCRIPTION")
    assert 40 < len(description) < 320
    assert "Apache 2.0" in description
    assert ";" not in description.replace("; not a medical device", "")


def test_the_license_is_where_the_index_looks():
    found = [name for name in LICENSE_NAMES if (REPOSITORY / name).is_file()]
    assert found
    assert "Apache License" in (REPOSITORY / found[0]).read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    """The files git knows; those of a plain copy without git are all files outside caches."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if done.returncode == 0 and done.stdout:
        names = done.stdout.decode().split("\0")
        return [path for path in (REPOSITORY / name for name in names if name) if path.is_file()]
    skipped = {".venv", ".git", "__pycache__", "build", "demo", ".pytest_cache", ".hypothesis", ".ruff_cache"}
    return [path for path in REPOSITORY.rglob("*") if path.is_file() and not skipped & set(path.parts)]


def test_the_repository_is_small_enough():
    """A clone of the last commit holds every file twice: checked out, and packed in .git."""
    files = tracked_files()
    assert 2 * sum(path.stat().st_size for path in files) < LARGEST_REPOSITORY
    assert [str(path) for path in files if path.stat().st_size > LARGEST_FILE] == []


def test_no_executables_or_archives_are_carried():
    suffixes = {".exe", ".dll", ".so", ".dylib", ".pyd", ".whl", ".zip", ".tar", ".rar", ".7z", ".pkl", ".pickle"}
    assert [str(path) for path in tracked_files() if path.suffix.lower() in suffixes] == []


def test_the_home_page_has_what_reviewers_ask_for():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# SpineMotionTools")
    assert re.search(r"!\[[^]]+\]\([^)]+\.png\)", readme)
    for heading in ("Modules", "Install", "Tutorial", "cite", "License"):
        assert re.search(rf"^##? .*{heading}", readme, re.MULTILINE | re.IGNORECASE), heading
    pictures = [
        REPOSITORY / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme) if not path.startswith("http")
    ]
    assert [str(path) for path in pictures if not path.is_file()] == []

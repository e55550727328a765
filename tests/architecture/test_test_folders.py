"""Folders of tests have the names of the product's rooms, and stay small enough to be looked through."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = (ROOT / "tests" / "unit", ROOT / "tests" / "integration")
MOST_FILES = 20
MOST_LINES = 400
# These numbers may only fall. A folder or a file that is within its limit needs no line here.
LARGE_FOLDERS: dict[str, int] = {}
LONG_FILES: dict[str, int] = {}


def _modules() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


def test_a_folder_of_tests_has_the_name_of_a_room() -> None:
    for kind in KINDS:
        for folder in {module.parent for module in kind.rglob("*.py")} - {kind}:
            parts = folder.relative_to(kind).parts
            if parts[0] == "connectors" and len(parts) > 1 and parts[1] not in ("base", "testing"):
                # A vendor's folder: test_salesforce, test_warehouse, test_zendesk_connector.
                vendor = parts[1].removeprefix("test_").removesuffix("_connector")
                room = ROOT.joinpath("connectors", vendor, *parts[2:])
            elif parts[0] in ("workers", "connectors"):
                room = ROOT.joinpath(*parts)
            else:
                room = ROOT.joinpath("service", *parts)
            assert room.is_dir() or room.with_suffix(".py").is_file(), f"{folder.relative_to(ROOT)} names no room"


def test_no_folder_of_tests_has_too_many_files() -> None:
    counts: dict[str, int] = {}
    for module in _modules():
        if module.name != "__init__.py":
            folder = str(module.parent.relative_to(ROOT))
            counts[folder] = counts.get(folder, 0) + 1
    large = {folder: count for folder, count in counts.items() if count > MOST_FILES}
    assert large == LARGE_FOLDERS, "divide the folder by rooms, and lower the number of one that fell"


def test_no_module_of_tests_is_too_long() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()}
    long = {path: count for path, count in lines.items() if count > MOST_LINES}
    grown = {path: count for path, count in long.items() if count > LONG_FILES.get(path, MOST_LINES)}
    assert grown == {}, "divide the module by meaning"
    assert set(LONG_FILES) <= set(long), "remove the line of a module that is short now"

"""Layers of packages, contents and lengths of files, and the places of tests.

The layers are read from the table in ``docs/architecture.md``, the imports from the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
picture = load_script(ROOT / "benchmarks" / "architecture_picture.py")
LAYERS = picture.read_layers()
MODULES: dict[str, Path] = picture.modules()
IMPORTS = picture.imports()
PACKAGES = sorted(picture.packages())
CODE = sorted(
    file
    for folder in (picture.LIBRARY, *picture.SHELLS, "benchmarks", "tests")
    for file in (ROOT / folder).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 400, 80
# What tests of a whole shell in its host are named after.
WHOLE = {"comfy_nodes": "pack", "a1111_extension": "extension", "gradio_demo": "page"}
# Test code in place of a host that puts folders on the import path.
HOSTS = ("tests/a1111_extension/", "tests/support/fake_host.py")


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# -- imports --------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_one_above_it(package: str) -> None:
    above = [
        f"{named(one.file)}:{one.line} imports {one.imported}"
        for one in IMPORTS
        if picture.package_of(one.file) == package
        and one.file.name != "__main__.py"
        and LAYERS.of[picture.package_of(MODULES[one.imported])] > LAYERS.of[package]
    ]
    assert above == []


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    assert picture.circles(picture.package_imports(IMPORTS)) == []


def test_modules_do_not_load_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for one in IMPORTS:
        if one.on_load:
            graph[one.module].add(one.imported)
    assert picture.circles(graph) == []


def test_all_imports_are_found(tmp_path: Path) -> None:
    for name, text in {
        "siren_ext/errors.py": "",
        "siren_ext/data/images.py": "from siren_ext import errors\n",
        "siren_ext/cli/app.py": "\n".join(
            (
                "from typing import TYPE_CHECKING",
                "from siren_ext.data import images",
                "if TYPE_CHECKING:",
                "    import siren_ext.coater.coater",
                "def work():",
                "    from siren_ext.coater.coater import Coater",
                "TABLE = {'x': 'siren_ext.data.images', 'y': 'siren_ext.data'}",
            )
        ),
        "siren_ext/coater/coater.py": "",
        "comfy_nodes/__init__.py": "from . import paths\n",
        "comfy_nodes/paths.py": "from .host import wait\n",
        "comfy_nodes/host.py": "",
        "gradio_demo/app.py": "from guided import Guided\n",
        "gradio_demo/guided.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {(one.module, one.imported, one.line, one.on_load) for one in picture.imports(tmp_path)}
    assert found == {
        ("siren_ext.data.images", "siren_ext.errors", 1, True),
        ("siren_ext.cli.app", "siren_ext.data.images", 2, True),
        ("siren_ext.cli.app", "siren_ext.coater.coater", 4, False),
        ("siren_ext.cli.app", "siren_ext.coater.coater", 6, False),
        ("siren_ext.cli.app", "siren_ext.data.images", 7, False),
        ("comfy_nodes", "comfy_nodes.paths", 1, True),
        ("comfy_nodes.paths", "comfy_nodes.host", 1, True),
        ("app", "guided", 1, True),
    }


def test_circles_and_implied_arrows() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert picture.circles(graph) == []
    assert picture.without_implied(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert picture.circles({**graph, "d": {"b"}, "e": {"f"}, "f": {"e"}}) == [
        ["b", "c", "d"],
        ["e", "f"],
    ]


# -- the page -------------------------------------------------------------------------------


def test_the_page_names_every_package_and_no_other() -> None:
    assert set(LAYERS.of) - LAYERS.to_come == set(PACKAGES)
    root = {file.stem for file in (ROOT / picture.LIBRARY).glob("*.py")}
    assert root - {"__init__", "__main__"} == LAYERS.base


def paths() -> dict[str, list[str]]:
    """The files of the main paths, by the title of their section."""
    text = picture.PAGE.read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    return {
        title: re.findall(r"^\d+\. `([\w/.]+\.py)`", sections[title], re.MULTILINE)
        for title in ("Coat", "Train", "Verify")
    }


@pytest.mark.parametrize("title", ["Coat", "Train", "Verify"])
def test_files_of_the_main_paths_exist_and_are_reached_in_order(title: str) -> None:
    """Each file is imported, directly or not, by an earlier one; commands start a path."""
    files = paths()[title]
    assert len(files) > 3
    assert [name for name in files if not (ROOT / name).is_file()] == []
    graph: dict[str, set[str]] = {}
    for one in IMPORTS:
        graph.setdefault(named(one.file), set()).add(named(MODULES[one.imported]))
    reached: set[str] = set()
    for name in files:
        assert name in reached or name.startswith("siren_ext/cli/"), f"nothing imports {name}"
        reached |= picture.reachable(graph, name)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    listed = set(re.findall(r"`([\w.]+/[\w/.]*\w)[` ]", text))
    assert len(listed) > 10
    assert [name for name in listed if not (ROOT / name).exists()] == []


def test_the_picture_shows_the_code_as_it_is() -> None:
    drawn = picture.picture()
    assert picture.PICTURE.read_text(encoding="utf-8") == drawn, (
        "run python benchmarks/architecture_picture.py and look at docs/architecture.svg"
    )
    assert f"({picture.PICTURE.name})" in picture.PAGE.read_text(encoding="utf-8")


# -- files ----------------------------------------------------------------------------------


def test_package_files_contain_only_a_docstring() -> None:
    wrong = []
    for file in sorted((ROOT / picture.LIBRARY).rglob("__init__.py")):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        alone = len(body) == 1 and isinstance(body[0], ast.Expr)
        if file.parent != ROOT / picture.LIBRARY and not alone:
            wrong.append(named(file))
    assert wrong == []


def test_no_module_is_long() -> None:
    lines = {named(file): len(file.read_text(encoding="utf-8").splitlines()) for file in CODE}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}


def test_no_function_is_long() -> None:
    lines = {
        f"{named(file)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in lines.items() if count > LONGEST_FUNCTION} == {}


# -- tests ----------------------------------------------------------------------------------


def stems(folder: Path) -> set[str]:
    """What a test module of a folder may be named after."""
    if folder == ROOT / "tests":
        docs = {page.stem for page in (ROOT / "docs").glob("*.md")}
        fixtures = {place.name for place in (ROOT / "tests" / "fixtures").iterdir()}
        return LAYERS.base | docs | fixtures | {"docs", "import", "readme", "run"}
    package = folder.relative_to(ROOT / "tests").parts
    if package[0] in picture.SHELLS:
        inside = {file.stem for file in (ROOT / package[0]).rglob("*.py")}
        return inside | {WHOLE[package[0]]}
    return {file.stem for file in (ROOT / picture.LIBRARY).joinpath(*package).glob("*.py")}


@pytest.mark.parametrize("file", TESTS, ids=named)
def test_test_modules_are_named_after_modules(file: Path) -> None:
    """``tests/<package>/test_<module>.py``, or ``test_<module>_<topic>.py`` beside it."""
    words = file.stem.removeprefix("test_").split("_")
    names = {"_".join(words[: number + 1]) for number in range(len(words))}
    assert names & stems(file.parent), f"{named(file)} has the name of no module"


def test_every_package_has_tests() -> None:
    tested = {file.relative_to(ROOT / "tests").parts[0] for file in TESTS}
    assert set(PACKAGES) - {picture.BASE} - tested == set()


def path_edits(file: Path) -> Iterator[int]:
    """Lines that change where Python looks for modules, here or in a program in a string."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        text = node.value if isinstance(node, ast.Constant) else ""
        called = isinstance(node, ast.Attribute) and node.attr == "syspath_prepend"
        direct = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
        if called or direct or (isinstance(text, str) and re.search(r"sys\.path[.\[]", text)):
            yield node.lineno


def test_tests_do_not_change_the_import_path() -> None:
    edits = [
        f"{named(file)}:{line}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        if not named(file).startswith(HOSTS)
        for line in path_edits(file)
    ]
    assert edits == []

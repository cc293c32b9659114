"""Every command, option, path and link that a page names exists."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from support.markdown import anchors, blocks, command_lines, links, spans

import siren_ext
from siren_ext.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "comfy_nodes", "a1111_extension", "gradio_demo", "siren_ext")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")),
        ROOT / "siren_ext" / "pocket" / "model_card.md.jinja",
    ]
)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
TOP = {place.name for place in ROOT.iterdir() if place.is_dir()} - {"out", "runs"}


def named(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


def chosen(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that words call, its name, and the words that are left for it."""
    command: Any = typer.main.get_command(app)
    name = "siren-ext"
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {name} {words[0]}"
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    return command, name, words


@every_page
def test_whole_commands_are_understood(page: Path) -> None:
    """Lines of code blocks: nothing required is missing, nothing unknown is given."""
    for call in command_lines(page.read_text(encoding="utf-8"), "siren-ext"):
        command, name, words = chosen(call)
        command.make_context(name, list(words), resilient_parsing=False)


@every_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for code in spans(page.read_text(encoding="utf-8")):
        if code.startswith("siren-ext "):
            command, name, words = chosen(shlex.split(code)[1:])
            known = {option for one in command.params for option in one.opts} | {"--help"}
            used = {word for word in words if OPTION.fullmatch(word)}
            assert used <= known, f"{name} has no {used - known}"


def modules(text: str) -> list[list[str]]:
    """Words of every ``python -m siren_ext...`` call."""
    calls = command_lines(text, "python -m")
    calls += [shlex.split(code)[2:] for code in spans(text) if code.startswith("python -m ")]
    return [call for call in calls if call[0].startswith("siren_ext")]


@every_page
def test_programs_of_the_package_are_understood(page: Path) -> None:
    for name, *words in modules(page.read_text(encoding="utf-8")):
        file = ROOT / name.replace(".", "/")
        if file.is_dir():  # a package is run by a module of its own
            name, file = f"{name}.__main__", file / "__main__"
        text = file.with_suffix(".py").read_text(encoding="utf-8")
        assert '__name__ == "__main__"' in text, f"{name} is no program"
        found = importlib.import_module(name)
        if not hasattr(found, "app"):  # argparse
            used = {word.replace("--no-", "--") for word in words if OPTION.fullmatch(word)}
            assert used <= strings(text), f"{name} has no {used - strings(text)}"
        elif len(words) > 1:
            program: Any = typer.main.get_command(found.app)
            program.make_context(name, words, resilient_parsing=False)


@every_page
def test_scripts_and_their_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    calls = command_lines(text, "python")
    calls += [shlex.split(code)[1:] for code in spans(text) if code.startswith("python ")]
    for script, *words in calls:
        if script.endswith(".py"):
            literals = strings((ROOT / script).read_text(encoding="utf-8"))
            used = {word for word in words if OPTION.fullmatch(word)}
            # what follows run.py's command is passed to pytest
            assert script == "run.py" or used <= literals, f"{script} has no {used - literals}"


def strings(source: str) -> set[str]:
    """All text constants of a program."""
    nodes = ast.walk(ast.parse(source))
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@every_page
def test_files_exist(page: Path) -> None:
    """Paths that begin with a folder of the repository; ``*`` and ``<...>`` stand for anything."""
    for code in spans(page.read_text(encoding="utf-8")):
        for word in re.sub(r"<[^>]*>", "*", code).split():
            path = word.split("::")[0].rstrip(",;:")
            if "/" in path and path.split("/")[0] in TOP:
                assert list(ROOT.glob(path.rstrip("/"))), f"{word} does not exist"


@every_page
def test_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"siren_ext(?:\.[a-z]\w*)+", text):
        if name.endswith((".py", ".egg", ".json")):
            continue
        place = ROOT / name.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"{name} does not exist"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link) or page.suffix == ".jinja":
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"no heading {link}"


@every_page
def test_python_imports_public_names(page: Path) -> None:
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "siren_ext":
                wrong = {one.name for one in node.names} - set(siren_ext.__all__)
                assert not wrong, f"{wrong} are no public names"


def test_the_pages_are_found() -> None:
    found = {named(page) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/evidence.md", "gradio_demo/README.md"} <= found
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    calls = {call[0] for call in command_lines(text, "siren-ext")}
    assert calls >= {"train", "coat", "personalize", "generate", "score", "verify"}

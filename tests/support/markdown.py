"""What tests read from Markdown pages: code blocks, code in the text, links and headings."""

from __future__ import annotations

import re
import shlex

FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str = "") -> list[str]:
    """The contents of the code blocks in a language."""
    return [content for found, content in FENCE.findall(text) if found == language]


def spans(text: str) -> list[str]:
    """Code between backticks in the text, each on one line."""
    rest = FENCE.sub("", text)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest)]


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """What a link to a heading of a page may name."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def command_lines(text: str, program: str) -> list[list[str]]:
    """Calls of a program in the code blocks, in words without its name."""
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    calls = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    return [call[len(program.split()) :] for call in calls]

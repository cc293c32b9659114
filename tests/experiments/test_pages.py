"""Tables in Markdown, and where they are written."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.experiments.pages import table, write_between


def test_a_table_is_markdown():
    text = table(("a", "b"), [("c", "d")])
    assert text == "| a | b |\n| --- | --- |\n| c | d |\n"


def test_only_what_is_between_the_comments_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x:start -->\nold\n<!-- x:end -->\nafter\n")
    for _ in range(2):
        write_between(page, "x", "new\n")
        assert page.read_text() == "before\n<!-- x:start -->\nnew\n<!-- x:end -->\nafter\n"
    with pytest.raises(ConfigError, match="has no comments <!-- y:start -->"):
        write_between(page, "y", "new\n")

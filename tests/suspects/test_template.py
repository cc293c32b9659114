"""Templates of requests keep their structure."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.suspects.responses import (
    at_path,
)
from siren_ext.suspects.template import fill, placeholders, read_template


def test_templates_keep_their_structure() -> None:
    template = read_template('{"a": "%seed%", "b": ["x %prompt% y", {"c": "%size%"}], "d": 1}', "t")
    assert placeholders(template) == {"seed", "prompt", "size"}
    filled = fill(template, {"seed": 7, "prompt": '"}, %seed% {"', "size": 64})
    assert filled == {"a": 7, "b": ['x "}, %seed% {" y', {"c": 64}], "d": 1}
    for text, why in (
        ("[]", "not a JSON object"),
        ("{", "valid JSON"),
        ('{"a": "%nose%"}', "nose"),
    ):
        with pytest.raises(ConfigError, match=why):
            read_template(text, "t")
    assert at_path({"a": [{"b": 1}]}, "a.0.b") == 1
    assert at_path({"a": [{"b": 1}]}, "a.7.b") is None

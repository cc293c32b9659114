"""The command ``settings``: what it prints is what a run without settings uses."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from siren_ext.cli.settings import _SETTINGS, describe_settings, settings_class

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize("name", sorted(_SETTINGS))
def test_printed_settings_are_the_defaults(name: str, call) -> None:
    kind = settings_class(name)
    code, out, _ = call("settings", name)
    assert code == 0
    assert kind.from_dict(tomllib.loads(out)) == kind()
    assert out.startswith(describe_settings(kind))


def test_groups_of_train_are_ready_to_be_uncommented(call) -> None:
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.personalize.config import PersonalizeConfig

    _, out, _ = call("settings", "train")
    for part, kind in (("coater", CoaterConfig), ("surrogate", PersonalizeConfig)):
        lines = out[out.index(f"# [{part}]") :].split("\n\n")[0].splitlines()
        text = "\n".join(line[2:] for line in lines if " = " in line or line.startswith("# ["))
        values = tomllib.loads(text.replace("= (not set)", "= ''"))[part]
        assert set(values) == {field.name for field in dataclasses.fields(kind)}


def test_settings_of_an_unknown_command(call) -> None:
    code, _, err = call("settings", "cook")
    assert code == 2
    assert "'cook' has no settings; expected one of demo, train" in err

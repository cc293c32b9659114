"""Names of files stay inside the folders of ComfyUI."""

from __future__ import annotations

import pytest
from support.fake_host import FakeHost

from siren_ext.errors import CoaterError, DatasetError, ScoreError


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "..",
            "../x",
            "a/../b",
            "/etc",
            "C:\\x",
            "\\\\host\\x",
            ".git",
            "a/.b",
            "a\nb",
            "a|b",
        ),
        *("a" * 201, "\u00e4" * 101, "a/" * 600 + "b", "\ud800"),
    ],
)
def test_no_name_leads_out_of_the_folders(host: FakeHost, name: str) -> None:
    from comfy_nodes import files, paths

    for check, error in (
        (paths.image_folder, DatasetError),
        (paths.new_output, DatasetError),
        (files.new_coater_file, CoaterError),
        (files.score_file, ScoreError),
    ):
        with pytest.raises(error, match="can't be used as a name"):
            check(name)


def test_outputs_are_numbered_not_replaced(host: FakeHost) -> None:
    from comfy_nodes import paths

    first = paths.free_output("siren/a", ".json")
    assert first == host.base / "output" / "siren" / "a_00001.json"
    first.parent.mkdir()
    first.touch()
    assert paths.free_output("siren/a", ".json").name == "a_00002.json"

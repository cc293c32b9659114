"""Names of files stay inside the folders of ComfyUI."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from support.fake_host import FakeHost, nodes_of_pack

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


NODES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "SirenCommit": (
        {"name": "own.safetensors", "folder": "a"},
        ("models/siren/own.safetensors", "input/a/1.png"),
    ),
    "SirenNewKey": ({"save_as": "my key"}, ("models/siren/my key.json",)),
    "SirenKSVerify": (
        {"more_references": "b.json\n\nc.json"},
        ("output/siren/b.json", "input/siren/c.json"),
    ),
    "SirenKeyedVerify": ({"commitment": "made.json"}, ("output/made.json",)),
    "SirenTrainCoater": (
        {"folder": "a", "save_as": "own"},
        ("input/a/1.png", "input/a/sub/1.txt", "models/siren/own.safetensors"),
    ),
    "SirenTrainAdapter": (
        {"folder": "a", "base": "sd.safetensors", "class_folder": "b", "save_as": "new"},
        (
            "input/a/1.png",
            "models/checkpoints/sd.safetensors",
            "input/b/1.png",
            "models/loras/new.safetensors",
            "models/checkpoints/new.safetensors",
        ),
    ),
    "SirenPassiveTest": (
        {"base": "sd.safetensors", "lora": "l.safetensors", "published": "a", "unpublished": "b"},
        (
            "models/checkpoints/sd.safetensors",
            "models/checkpoints/sd/scheduler/scheduler_config.json",
            "models/loras/l.safetensors",
            "input/a/1.png",
            "input/b/1.png",
        ),
    ),
    "SirenVerifyModel": (
        {
            "base": "sd.safetensors",
            "lora": "l.safetensors",
            "originals": "a",
            "control": "c.safetensors",
            "commitment": "made.json",
        },
        (
            "models/checkpoints/sd.safetensors",
            "models/checkpoints/sd/scheduler/scheduler_config.json",
            "models/loras/l.safetensors",
            "input/a/1.png",
            "models/loras/c.safetensors",
            "output/made.json",
        ),
    ),
}
"""For each node that names files: its inputs, and the files that they name."""


@pytest.mark.parametrize("node", NODES)
def test_nodes_run_again_only_after_a_change_of_their_files(host: FakeHost, node: str) -> None:
    inputs, read = NODES[node]
    for name in {name for _, names in NODES.values() for name in names}:
        (host.base / name).parent.mkdir(parents=True, exist_ok=True)
        (host.base / name).write_bytes(b"before")
    (host.base / "input" / "other.png").touch()
    ask = nodes_of_pack()[node].fingerprint_inputs
    before = ask(**inputs, strength=1.0)
    (host.base / "input" / "other.png").write_bytes(b"not named")
    (host.base / "input" / "a" / ".DS_Store").write_bytes(b"of a file manager")
    assert ask(**inputs, strength=1.0) == before
    for name in read:
        status = (host.base / name).stat()
        (host.base / name).write_bytes(b"edited")  # of equal size
        os.utime(host.base / name, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
        after = ask(**inputs, strength=1.0)
        assert after != before, name
        before = after
    # what another node gives is not known before a run
    for name in inputs:
        assert math.isnan(ask(**inputs | {name: None})), name


def test_files_that_come_go_or_get_another_name_are_a_change(host: FakeHost) -> None:
    from comfy_nodes import paths

    folder = host.base / "input" / "a"
    folder.mkdir()

    def ask() -> Any:
        return paths.fingerprint((paths.folder_if_any, "a"))

    def named(name: str) -> Path:
        (folder / name).touch()
        return folder / name

    seen = [ask()]
    first = named("1.png")
    seen.append(ask())
    first = first.rename(folder / "2.png")
    seen.append(ask())
    first.rename(folder / "1.png")
    assert ask() == seen[1]
    named("3.png")
    seen.append(ask())
    assert len(set(seen)) == len(seen)
    (folder / "3.png").unlink()
    assert ask() == seen[1]
    assert paths.fingerprint((paths.folder_if_any, " ")) not in seen

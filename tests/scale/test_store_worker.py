"""A worker that fetches and sends."""

from __future__ import annotations

import pytest

from siren_ext.coater.coater import Coater
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.files import sha256_file
from siren_ext.scale.store_worker import StoreSetup, StoreTask
from siren_ext.scale.worker import Failure

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


def test_images_and_captions_are_sent_under_their_new_names(data, coater_file, tmp_path) -> None:
    out = tmp_path / "out"
    setup = StoreSetup(
        coater_file,
        Coater.load(coater_file).fingerprint,
        CoatConfig(),
        tmp_path,
        source=str(data),
        target=str(out),
    )
    tasks = [
        StoreTask("0.png", ("0.txt",), "sub/new.png"),
        StoreTask("none.png", (), "none.png"),
        StoreTask("1.png", (), "1.jpg"),
    ]
    outcomes = dict(setup.open().work(tasks))
    assert isinstance(outcomes[0], CoatEntry)
    assert (outcomes[0].source, outcomes[0].output) == ("0.png", "sub/new.png")
    assert outcomes[0].output_sha256 == sha256_file(out / "sub" / "new.png")
    assert outcomes[0].source_sha256 == sha256_file(data / "0.png")
    assert (out / "sub" / "new.txt").read_text() == "caption 0"
    assert isinstance(outcomes[1], Failure)
    assert "can't give none.png" in outcomes[1].error
    assert "its name ends in .jpg" in outcomes[2].error
    assert {path.name for path in out.rglob("*.*")} == {"new.png", "new.txt"}

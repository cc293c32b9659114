"""The panels' import of the authors' two files: the step, the section and what it chooses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.published_pair import meta_learned, published_states, work_small, written
from support.stopping import StopAfter

from siren_ext.coater.coater import Coater
from siren_ext.errors import Cancelled, CoaterError, DatasetError
from siren_ext.panels.host import CoaterLibrary, PanelHost
from siren_ext.panels.official import coater_import, import_step
from siren_ext.panels.widgets import coater_choice


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    work_small(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of a trained pair, as an upload gives them."""
    first, second = written(tmp_path_factory.mktemp("trained"), *published_states())
    return str(first), str(second)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of a meta-learned pair."""
    first, second = written(tmp_path_factory.mktemp("meta"), *meta_learned(published_states()))
    return str(first), str(second)


def test_a_trained_pair_joins_the_hosts_coaters(host: PanelHost, trained: tuple[str, str]) -> None:
    made = import_step(*trained, None, "", "theirs", host)
    assert made.path == host.coaters.folder / "theirs.safetensors"
    assert "theirs.safetensors" in host.coaters.names()
    assert host.coaters.load("theirs.safetensors").fingerprint == made.coater.fingerprint
    with pytest.raises(CoaterError, match=r"theirs\.safetensors"):
        import_step(*trained, None, "", "theirs", host)
    with pytest.raises(CoaterError, match="name"):
        import_step(*trained, None, "", "../theirs", host)


def test_without_a_coater_folder_the_file_is_temporary(
    host: PanelHost, trained: tuple[str, str]
) -> None:
    host = dataclasses.replace(host, coaters=CoaterLibrary(device="cpu"))
    made = import_step(*trained, None, "", "theirs", host)
    assert host.coaters.load("", str(made.path)).fingerprint == made.coater.fingerprint
    assert made.path.parent.name.startswith("siren_import_")


def test_a_meta_learned_pair_needs_images(
    host: PanelHost, untrained: tuple[str, str], pictures: Path
) -> None:
    with pytest.raises(CoaterError, match="contains no 'center'"):
        import_step(*untrained, None, " ", "theirs", host)
    with pytest.raises(DatasetError, match="no folder"):
        import_step(*untrained, None, "/not there", "theirs", host)
    by_folder = import_step(*untrained, None, str(pictures), "one", host)
    uploads = [str(path) for path in sorted(pictures.glob("*.png"))]
    by_upload = import_step(*untrained, uploads, "", "two", host)
    assert by_folder.images is not None
    assert len(by_folder.images) == 5
    assert by_folder.coater.fingerprint == by_upload.coater.fingerprint
    with pytest.raises(Cancelled):
        import_step(*untrained, uploads, "", "three", host, progress=StopAfter(7))
    assert "three.safetensors" not in host.coaters.names()


def test_mistakes(host: PanelHost, trained: tuple[str, str]) -> None:
    with pytest.raises(CoaterError, match="Add both files"):
        import_step(trained[0], None, None, "", "theirs", host)
    with pytest.raises(CoaterError, match="The two files are swapped"):
        import_step(*trained[::-1], None, "", "theirs", host)


def test_a_checkpoint_in_place_of_a_coater(host: PanelHost, trained: tuple[str, str]) -> None:
    for name, upload in (("samples", trained[0]), ("end_encoder.pth", None)):
        with pytest.raises(CoaterError, match=r"is a PyTorch checkpoint.*import-official"):
            host.coaters.load(name, upload)


def section(host: PanelHost) -> tuple[MagicMock, dict[str, Any]]:
    gr = MagicMock(__version__="4.40.0")
    for kind in ("File", "HTML", "Textbox"):
        getattr(gr, kind).side_effect = lambda *_, **keys: MagicMock(**keys)
    gr.update.side_effect = lambda **keys: keys
    gr.Progress.return_value = lambda *_, **__: None
    return gr, coater_import(gr, "t", host, (MagicMock(), MagicMock()))


def test_no_section_where_visitors_are_strangers(host: PanelHost) -> None:
    limits = dataclasses.replace(host.limits, folders=False)
    gr, parts = section(dataclasses.replace(host, limits=limits))
    assert parts == {}
    assert not gr.Button.called


def queued(gr: Any) -> tuple[Any, ...]:
    """The job behind the button, with its inputs and outputs."""
    looked = gr.Button.return_value.click.return_value
    found: tuple[Any, ...] = looked.then.return_value.success.call_args.args
    return found


def test_the_section_chooses_the_new_coater(host: PanelHost, trained: tuple[str, str]) -> None:
    gr, parts = section(host)
    names = ("about", "generator", "extractor", "images", "folder", "name", "result", "coater")
    assert set(parts) == {f"t_import_{name}" for name in names}
    run, inputs, outputs = queued(gr)
    assert len(inputs) == 6
    assert len(outputs) == 4
    card, file, choice, upload = run(*trained, None, "", "theirs", "job")
    assert "theirs.safetensors is now selected above" in card
    assert file == {"value": None, "visible": False}
    assert choice["value"] == "theirs.safetensors"
    assert choice["value"] in choice["choices"]
    assert upload == {"value": None}
    card, *rest = run(*trained, None, "", "theirs", "job")
    assert "There is already a coater named theirs.safetensors" in card
    assert rest == [{"value": None, "visible": False}, {}, {}]


def test_without_a_coater_folder_the_coater_is_offered_as_a_file(
    host: PanelHost, trained: tuple[str, str]
) -> None:
    gr, _ = section(dataclasses.replace(host, coaters=CoaterLibrary(device="cpu")))
    run, *_ = queued(gr)
    _, file, choice, upload = run(*trained, None, "", "theirs", "job")
    assert Coater.load(file["value"]).config.working_size == 32
    assert file["visible"]
    assert choice == {}
    assert upload == {"value": file["value"]}


def test_the_upload_field_takes_checkpoints_to_explain_them(host: PanelHost) -> None:
    gr = MagicMock(__version__="4.40.0")
    coater_choice(gr, "t", host.coaters)
    assert gr.File.call_args.kwargs["file_types"] == [".safetensors", ".pth", ".pt", ".ckpt"]

"""Files of the real writers (peft, LyCORIS, diffusers, our trainer): the merge equals the writer.

Each file is written by the library itself around a tiny model; the library's own forward pass is
compared with the forward pass after our merge, then the merge is undone bit for bit.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models
from support.writers import CASES, UnwrittenError, Written, compare, load, lycoris, randomise

from siren_ext.adapters.merge import merge_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.diffusion import pipelines

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return load(folder)


@contextmanager
def unchanged(pipeline: Any) -> Iterator[None]:
    """The weights after the block have the bits that they had before."""
    networks = (pipeline.unet, pipeline.text_encoder)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    yield
    for network, state in zip(networks, before, strict=True):
        now = network.state_dict()
        assert now.keys() == state.keys()
        assert all(torch.equal(now[key], value) for key, value in state.items())


@pytest.mark.parametrize("case", CASES, ids=[f"{writer}-{name}" for writer, name, _ in CASES])
def test_the_merge_equals_the_writers_own_forward(
    pipeline: Any, folder: Path, tmp_path: Path, case: tuple[str, str, Any]
) -> None:
    writer, name, write = case
    try:
        written = write(folder, tmp_path, name)
    except UnwrittenError as reason:
        pytest.skip(str(reason))
    check(pipeline, written)
    if writer == "peft":
        file = written.path / "adapter_model.safetensors"
        check(pipeline, Written(file, written.theirs, written.modules))


def check(pipeline: Any, written: Written) -> None:
    found = compare(pipeline, written)
    assert found.modules == written.modules
    assert found.change > 1e-3
    assert found.error < 1e-5 * max(1, float(written.theirs.abs().max()))
    assert (found.leftovers, found.warnings, found.undone) == (0, (), True)


def test_lycoris_text_encoder(pipeline: Any, tmp_path: Path, folder: Path) -> None:
    other = load(folder)
    pytest.importorskip("lycoris.kohya")
    network = lycoris(other, algo="locon", preset="attn-mlp")
    network.apply_to(other.text_encoder, other.unet, True, False)
    randomise(network)
    path = tmp_path / "text.safetensors"
    network.eval()
    network.save_weights(str(path), torch.float32, {})
    summary = read_adapter(path).summary()
    assert summary.text_modules == len(network.text_encoder_loras) > 0
    with unchanged(pipeline):
        merge = merge_adapter(pipeline, read_adapter(path))
        ours = pipelines.encode_prompts(pipeline, ["a red cat"])
        merge.undo()
    theirs = pipelines.encode_prompts(other, ["a red cat"])
    assert (theirs - pipelines.encode_prompts(pipeline, ["a red cat"])).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_table_is_made_of_these_cases() -> None:
    """The command behind docs/adapters.md, for one case."""
    path = Path(__file__).parents[2] / "benchmarks" / "adapter_table.py"
    table = runpy.run_path(str(path))
    lines, good = table["rows"]("siren-ext")
    assert good
    assert lines[2].startswith("| siren-ext | lora with convolutions | lora | 66 of 66 | ")
    assert lines[2].endswith(" | 0 | yes |")
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")


def test_peft_folders_per_network(pipeline: Any, tmp_path: Path) -> None:
    """peft's training scripts write unet/ and text_encoder/; both parts count."""
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2}
    paths = {
        "unet": "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
        "text_encoder": "base_model.model.text_model.encoder.layers.1.self_attn.q_proj",
    }
    for name, path in paths.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        side = 64 if name == "unet" else 32
        tensors = {
            f"{path}.lora_A.weight": torch.ones(1, side),
            f"{path}.lora_B.weight": torch.ones(side, 1),
        }
        save_file(tensors, tmp_path / name / "adapter_model.safetensors")
    with unchanged(pipeline):
        merge = merge_adapter(pipeline, read_adapter(tmp_path))
        assert {c.place.component for c in merge.adapter.changes} == {"unet", "text_encoder"}
        merge.undo()

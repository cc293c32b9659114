"""ComfyUI's real reader maps every key that we write; skipped where ComfyUI is absent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import need_models, shared_model

from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines

need_models()
pytestmark = pytest.mark.models

VARIABLE = "SIREN_COMFYUI_PYTHON"
STUB = Path(__file__).parents[1] / "comfy_nodes" / "stub"
# ComfyUI recognises checkpoints by their exact sizes; a tiny one has to be described to it
SCRIPT = """
import json, logging, sys
folder, weights, out = sys.argv[1:]
sys.argv = sys.argv[:1]
import comfy.cli_args
comfy.cli_args.args.cpu = True
import comfy.lora, comfy.model_base, comfy.supported_models, comfy.utils, torch
from safetensors.torch import load_file, save_file
shape = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=32, num_res_blocks=[1, 1],
    channel_mult=[1, 2], transformer_depth=[1, 0], transformer_depth_output=[1, 1, 0, 0],
    transformer_depth_middle=1, num_head_channels=4, context_dim=32, use_spatial_transformer=True,
    legacy=False, adm_in_channels=None, use_linear_in_transformer=False, num_heads=-1,
    use_temporal_attention=False, dtype=torch.float32,
)
model = comfy.model_base.BaseModel(comfy.supported_models.SD15(shape))
names = comfy.lora.model_lora_keys_unet(model, {})
lora = load_file(weights)
lost = []
logging.warning = lambda text, *rest: lost.append(text)
patches = comfy.lora.load_lora(lora, names)
known = {v: k for k, v in comfy.utils.unet_to_diffusers(shape).items()}
state = load_file(folder)
merged = {}
for key, patch in patches.items():
    name = known[key.removeprefix("diffusion_model.")]
    merged[name] = patch.calculate_weight(
        state[name].clone(), key, 1.0, 1.0, None, lambda delta: delta
    )
save_file({k: v.contiguous() for k, v in merged.items()}, out)
print(json.dumps({"keys": len(lora), "patches": len(patches), "lost": lost}))
"""


def interpreter() -> Path:
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"{VARIABLE} names no interpreter with ComfyUI")
    return Path(named)


def ask_comfyui(pipeline: Any, weights: Path, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """What ComfyUI makes of an adapter for a pipeline's UNet, and the weights it gets."""
    from safetensors.torch import save_file

    python = interpreter()
    source = python.parent.parent / "comfyui"
    state = {k: v.contiguous() for k, v in pipeline.unet.state_dict().items()}
    save_file(state, tmp_path / "unet.safetensors")
    out = tmp_path / "merged.safetensors"
    answer = subprocess.run(
        [python, "-c", SCRIPT, tmp_path / "unet.safetensors", weights, out],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(STUB), str(source)))},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1]), out


def test_comfyui_maps_our_trainers_keys(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from safetensors.torch import load_file

    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.personalize.lora import LoraWeights

    interpreter()
    folder = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    pipeline = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    weights = LoraWeights(other, PersonalizeConfig(rank=4, alpha=2.0, conv_rank=2, conv_alpha=3.0))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        weights.vector.add_(0.1 * torch.randn(weights.vector.shape, generator=generator))
    path = tmp_path / "ours.safetensors"
    save_kohya(path, weights.modules(), {"ss_seed": "1"})
    found, merged = ask_comfyui(pipeline, path, tmp_path)
    count = len(weights.names)
    assert found == {"keys": 3 * count, "patches": count, "lost": []}
    load_adapter(pipeline, path)
    ours = pipeline.unet.state_dict()
    theirs = load_file(merged)
    assert len(theirs) == count
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=1e-5, rtol=1e-5)

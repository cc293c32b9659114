"""Local suspects of every family: tiny random pipelines of each, saved as diffusers folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_families import FAMILIES, tiny_family
from support.tiny_models import need_models

from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import families
from siren_ext.errors import AdapterError, ConfigError, ModelError
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.open import open_suspect

need_models()
pytestmark = pytest.mark.models

Family = Callable[[str], Path]
# those whose pictures would be large unless they are told a size
ASKED = {"kandinsky": 64, "kandinsky22": 64, "flux": 64}
SIDES = {"vq": 8}
CAT = "a photo of a red cat"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    root = tmp_path_factory.getbasetemp() / "families"
    root.mkdir(exist_ok=True)

    def made(name: str) -> Path:
        if name == "vq":
            from diffusers import Transformer2DModel

            folder = tiny_family(root, name)
            try:
                Transformer2DModel.from_pretrained(folder / "transformer")
            except RecursionError:
                pytest.skip("this diffusers can't load a discrete Transformer2DModel")
        return tiny_family(root, name)

    return made


def plan(name: str, **changes: Any) -> PromptPlan:
    settings = {"prompts": (CAT,), "count": 2, "seed": 5, "steps": 2, "size": ASKED.get(name, 0)}
    return PromptPlan(**settings | changes)


def local(folder: Path, adapter: Path | None = None, **options: Any) -> LocalSuspect:
    return LocalSuspect(folder, adapter, device="cpu", dtype=torch.float32, **options)


def picture(folder: Path, name: str, adapter: Path | None = None, **changes: Any) -> torch.Tensor:
    return next(local(folder, adapter).generate(plan(name, count=1, **changes))).image


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_makes_pictures_of_its_seeds(
    family: Family, tmp_path: Path, name: str
) -> None:
    folder = family(name)
    found = open_suspect(str(folder), device="cpu")
    assert isinstance(found, LocalSuspect)
    suspect = local(folder)
    first, second = suspect.generate(plan(name))
    side = ASKED.get(name, SIDES.get(name, 32))
    assert first.image.shape == second.image.shape == (3, side, side)
    assert first.image.dtype == torch.float32
    assert 0 <= first.image.min() < first.image.max() <= 1
    assert (first.image - second.image).abs().max() > 0.01
    (alone,) = suspect.generate(plan(name), indices=[1])
    assert torch.equal(alone.image, second.image)
    (shifted,) = suspect.generate(plan(name, seed=6, count=1))
    assert torch.allclose(shifted.image, second.image, atol=1e-4)
    other = next(suspect.generate(plan(name, prompts=("a drawing of a blue dog",), count=1)))
    assert (other.image - first.image).abs().max() > 1e-3
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    facts = suspect.describe()
    assert facts.get("family", families.STABLE) == kind
    assert str(tmp_path) not in json.dumps(facts)


def test_runs_are_recorded_and_resumed(family: Family, tmp_path: Path) -> None:
    folder = family("xl")
    whole = generate_images(local(folder), plan("xl", count=3), tmp_path / "whole")
    generate_images(
        local(folder), plan("xl", count=3), tmp_path / "parts", enough=lambda path: "1" in path.name
    )
    parts = generate_images(local(folder), plan("xl", count=3), tmp_path / "parts")
    assert [p.read_bytes() for p in parts] == [p.read_bytes() for p in whole]
    record = json.loads((tmp_path / "whole" / "provenance.json").read_text())["suspect"]
    assert record["sampler"] == "EulerDiscreteScheduler"
    assert record["family"] == "StableDiffusionXLPipeline"


def test_settings_reach_the_pipelines_that_take_them(family: Family) -> None:
    for name in ("xl", "sd3", "flux"):
        base = picture(family(name), name)
        for changes in ({"steps": 4}, {"guidance": 9.0}):
            assert not torch.equal(base, picture(family(name), name, **changes)), (name, changes)
        assert picture(family(name), name, size=48).shape == (3, 48, 48)
    base = picture(family("xl"), "xl")
    assert not torch.equal(base, picture(family("xl"), "xl", negative="a dog"))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("vq", {"size": 16}, "has only one size"),
        ("vq", {"negative": "a dog"}, "takes no negative prompt"),
        ("lcm", {"negative": "a dog"}, "takes no negative prompt"),
        ("flux", {"negative": "a dog"}, "takes no negative prompt"),
        ("xl", {"sampler": "ddim"}, "Leave the sampler out"),
        ("lcm", {"steps": 900}, "can't make a picture with 900 steps"),
        ("xl", {"size": 50}, "size 50"),
        ("flux", {"size": 56}, "48x48 pixels instead of 56x56"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(
    family: Family, name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        picture(family(name), name, **changes)


def test_settings_without_a_use_are_told(monkeypatch: pytest.MonkeyPatch, family: Family) -> None:
    import diffusers

    def call(self: Any, prompt: str, generator: Any = None, output_type: str = "pil") -> None:
        """One step, no guidance."""

    monkeypatch.setattr(diffusers.VQDiffusionPipeline, "__call__", call)
    assert local(family("vq")).describe()["unused"] == ["steps", "guidance"]


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def rewrite(folder: Path, **entries: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def refuse(folder: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)


def test_weights_must_be_whole(family: Family, tmp_path: Path) -> None:
    folder = copy(family("sd3"), tmp_path / "model")
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    weight = state.pop("proj_out.weight")
    save_file(state, path)
    refuse(folder, r"(?s)missing.*proj_out\.weight|proj_out\.weight.*missing")
    save_file(state | {"proj_out.weight": weight, "stranger": weight.clone()}, path)
    if version("diffusers") > "0.33":  # older ones don't tell what they leave over
        refuse(folder, "stranger")
    path.rename(path.with_suffix(".bin"))
    refuse(folder, "can't be loaded")


def test_folders_of_strangers_run_no_code(family: Family, tmp_path: Path) -> None:
    folder = copy(family("xl"), tmp_path / "model")
    (folder / "unet" / "evil.py").write_text("raise SystemExit('it ran')")
    for entry, words in [
        (["evil", "Evil"], "Evil from evil as its unet"),
        (["builtins", "exec"], "exec from builtins"),
        (["diffusers", "DiffusionPipeline"], "Nothing else is loaded"),
        (["transformers", "pipeline"], "Nothing else is loaded"),
        (["transformers", "AutoModel"], "Nothing else is loaded"),
        (["diffusers"], "Nothing else is loaded"),
    ]:
        rewrite(folder, unet=entry)
        refuse(folder, words)
    rewrite(folder, unet=["diffusers", "UNet2DConditionModel"], extra=["diffusers", "VQModel"])
    refuse(folder, "a part extra, which StableDiffusionXLPipeline does not use")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("KandinskyV22Pipeline", "half of a pair"),
        ("StableDiffusionXLControlNetPipeline", "expected a text-to-image pipeline"),
        ("evil.Pipeline", "expected a text-to-image pipeline"),
    ],
)
def test_other_pipelines_are_refused(family: Family, tmp_path: Path, name: str, words: str) -> None:
    folder = copy(family("xl"), tmp_path / "model")
    rewrite(folder, _class_name=name)
    refuse(folder, words)
    (folder / "model_index.json").write_text("[" * 100_000)
    refuse(folder, "nested too deep")
    (folder / "model_index.json").write_text("[]")
    refuse(folder, "is \\[\\]; expected named values")


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["sd2", "xl"])
def test_kohya_files_of_other_families(family: Family, tmp_path: Path, name: str) -> None:
    """LyCORIS' own forward inside the pipeline, both text encoders included, equals our merge."""
    kohya = pytest.importorskip("lycoris.kohya")
    kohya.logger.setLevel("ERROR")
    folder = family(name)
    other = families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)
    encoders = [getattr(other, n, None) for n in ("text_encoder", "text_encoder_2")]
    encoders = [encoder for encoder in encoders if encoder is not None]
    network = kohya.create_network(
        1.0, 4, 2.0, None, encoders if len(encoders) > 1 else encoders[0], other.unet,
        warn_on_unmatched=False, algo="locon", preset="attn-mlp",
    )  # fmt: skip
    network.apply_to(encoders if len(encoders) > 1 else encoders[0], other.unet, True, True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    network.eval()
    path = tmp_path / "a.safetensors"
    network.save_weights(str(path), torch.float32, {})
    starts = {key.split("_", 2)[1] for key in load_file(path)}
    assert starts == ({"unet", "te1", "te2"} if name == "xl" else {"unet", "te"})
    theirs = drawn(other)
    suspect = local(folder, path)
    assert (theirs - drawn(families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)))\
        .abs().max() > 1e-3  # fmt: skip
    torch.testing.assert_close(drawn(suspect.pipeline), theirs, atol=1e-4, rtol=0)
    (made,) = suspect.describe()["adapters"]
    assert made["modules"] == len(network.unet_loras) + len(network.text_encoder_loras)


def drawn(pipeline: Any) -> torch.Tensor:
    """The pipeline's own call, for every family alike."""
    return families.draw(pipeline, CAT, 3, steps=2, guidance=2.0, size=64)


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_diffusers_files_of_transformers(family: Family, tmp_path: Path, name: str) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder = family(name)
    other = families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)
    names = ["to_q", "to_k", "to_out.0", "proj_mlp", "ff.net.2"]
    other.transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=names))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in other.transformer.named_parameters():
            if "lora_" in key:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    layers = get_peft_model_state_dict(other.transformer)
    type(other).save_lora_weights(tmp_path, transformer_lora_layers=layers)
    plain = families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)
    theirs = drawn(other)
    assert (theirs - drawn(plain)).abs().max() > 1e-3
    suspect = local(folder, tmp_path)
    torch.testing.assert_close(drawn(suspect.pipeline), theirs, atol=1e-4, rtol=0)
    strange = tmp_path / "kohya.safetensors"
    block = "lora_unet_double_blocks_{}_img_attn_proj"
    save_kohya(strange, {block.format(9): (normal(2, 32), normal(32, 2), 2.0)}, {})
    with pytest.raises(AdapterError, match=block.format(9)):
        _ = local(folder, strange).pipeline
    if name == "flux":  # kohya's names of Flux are read
        save_kohya(strange, {block.format(0): (normal(2, 32), normal(32, 2), 2.0)}, {})
        (read,) = local(folder, strange).describe()["adapters"]
        assert read["modules"] == 1
    word = tmp_path / "mystyle.safetensors"
    save_file({"emb_params": normal(1, 32)}, word)
    with pytest.raises(AdapterError, match="with only one of its text encoders"):
        _ = local(folder, word).pipeline


@pytest.mark.parametrize("name", ["kandinsky", "kandinsky22", "vq"])
def test_families_with_unsure_names_take_no_adapter(
    family: Family, tmp_path: Path, name: str
) -> None:
    folder = family(name)
    denoiser = "vq" if name == "vq" else "unet"
    key = "lora_unet_conv_in" if denoiser == "unet" else "transformer_blocks.0.attn1.to_k"
    path = tmp_path / "a.safetensors"
    save_file({f"{key}.diff": torch.ones(1)}, path)
    with pytest.raises(AdapterError, match="adapters for it are not supported"):
        _ = local(folder, path, allow_partial=True).pipeline


def test_adapter_of_lcm_acts(family: Family, tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    path = tmp_path / "a.safetensors"
    save_kohya(path, {name: (normal(2, 32), normal(32, 2), 2.0)}, {})
    plain = picture(family("lcm"), "lcm")
    assert (picture(family("lcm"), "lcm", path) - plain).abs().max() > 1e-3
    save_kohya(path, {name: (normal(2, 32), torch.zeros(32, 2), 2.0)}, {})
    with pytest.raises(AdapterError, match="changes nothing"):
        picture(family("lcm"), "lcm", path)


def test_textual_inversion_of_both_encoders(family: Family, tmp_path: Path) -> None:
    """diffusers' own reader, told each encoder's vectors, draws the same picture."""
    folder = family("xl")
    path = tmp_path / "mystyle.safetensors"
    save_file({"clip_l": 5 * normal(2, 8), "clip_g": 5 * normal(2, 24, seed=2)}, path)
    other = families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)
    for key, rest in (("clip_l", ""), ("clip_g", "_2")):
        other.load_textual_inversion(
            {"mystyle": load_file(path)[key]},
            token="mystyle",
            text_encoder=getattr(other, f"text_encoder{rest}"),
            tokenizer=getattr(other, f"tokenizer{rest}"),
        )
    prompt = "a photo of mystyle"
    theirs = families.draw(other, prompt, 5, steps=2, guidance=3.0)
    ours = picture(folder, "xl", path, prompts=(prompt,))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert (ours - picture(folder, "xl", prompts=(prompt,))).abs().max() > 1e-3

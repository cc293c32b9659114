"""The command ``generate`` passes its plan."""

from __future__ import annotations

from pathlib import Path


def test_generate_passes_its_plan(call, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.suspects import base, local
    from siren_ext.suspects.local import WeightedAdapter

    seen: dict[str, object] = {}

    def stand_in(suspect, plan, out, *, progress) -> list[Path]:
        seen.update(suspect=suspect, plan=plan, out=out)
        return [out / "00000.png"]

    class StandIn:
        warnings = ()

        def __init__(self, *args: object, **_: object) -> None:
            self.args = args

    monkeypatch.setattr(local, "LocalSuspect", StandIn)
    monkeypatch.setattr(base, "generate_images", stand_in)
    line = ["generate", "--base", "m", "--adapter", "a.safetensors", "--prompt", "a", "--prompt"]
    code, out, err = call(*line, "b", "-n", "5", "--seed", "3", "--out", tmp_path / "g")
    assert code == 0, err
    assert "1 image: " in out
    assert seen["plan"] == base.PromptPlan(prompts=("a", "b"), count=5, seed=3)
    assert seen["suspect"].args == ("m", [WeightedAdapter(Path("a.safetensors"))])

"""Look into an adapter file: ``adapter``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, say

if TYPE_CHECKING:
    from siren_ext.adapters.read import Adapter

_TOLD = "The file says about itself (hints, never proof: anybody can edit this):"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(
        app, "adapter", example="siren-ext adapter suspect.safetensors --base v1-5.safetensors"
    )
    def adapter(
        file: Annotated[Path, typer.Argument(help="A .safetensors file or an adapter's folder.")],
        base: Annotated[
            str | None,
            typer.Option("--base", help="Also try whether it fits this model and changes it."),
        ] = None,
        allow_partial: Annotated[
            bool, typer.Option("--allow-partial", help="Show files that are understood in part.")
        ] = False,
        json_: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
    ) -> None:
        """Show what an adapter holds and what it claims about itself."""
        from siren_ext.adapters.read import read_adapter

        found = read_adapter(file, allow_partial=allow_partial)
        facts = adapter_facts(found)
        if base is not None:
            facts["fits"] = _try(found, base, allow_partial)
        if json_:
            import json

            say(json.dumps(facts, indent=2, ensure_ascii=False))
            return
        for line in described(facts):
            say(line)


def adapter_facts(adapter: Adapter) -> dict[str, Any]:
    """What is known of an adapter (by its tensors) and what it claims (by its metadata)."""
    summary = adapter.summary()
    return {
        **summary.to_dict(),
        "not understood": list(summary.leftovers),
        "claims": summary.claims(),
    }


def described(facts: dict[str, Any]) -> list[str]:
    """The facts as lines of text."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["kinds"].items())
    lines = [
        f"file        {facts['file']} ({facts['style']} keys)",
        f"sshs hash   {facts['hash']}",
        f"modules     {facts['modules']}, of them {facts['text_modules']} of text encoders"
        + (f": {kinds}" if kinds else ""),
        f"parameters  {facts['parameters']}",
    ]
    if facts["ranks"]:
        lines.append(f"ranks       {', '.join(str(rank) for rank in facts['ranks'])}")
    if facts["words"]:
        lines.append(f"words       {', '.join(facts['words'])}")
    lines += [f"not understood: {name}" for name in facts["not understood"]]
    if facts["claims"]:
        lines.append(_TOLD)
    for label, value in facts["claims"].items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{name} ({count})" for name, count in value.items())
        lines.append(f"  {label}: {shown}")
    fits = facts.get("fits")
    if fits is not None:
        lines.append(f"fits {fits['base']} and changes its pictures")
        lines += [f"warning: {warning}" for warning in fits["warnings"]]
    return lines


def _try(adapter: Adapter, base: str, allow_partial: bool) -> dict[str, Any]:
    import torch

    from siren_ext.diffusion.families import load_any_pipeline
    from siren_ext.diffusion.load import model_name
    from siren_ext.suspects.local import merge_checked

    pipeline = load_any_pipeline(base, dtype=torch.float32)
    merge = merge_checked(pipeline, adapter, allow_partial=allow_partial)
    return {"base": model_name(base), "warnings": list(merge.warnings)}

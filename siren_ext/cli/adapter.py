"""``adapter``: show what an adapter file contains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, say
from siren_ext.cli.options import AsJson

if TYPE_CHECKING:
    from siren_ext.adapters.read import Adapter

_CLAIMS = "Claims in the file (hints, not proof: anybody can edit them):"


def adapter(
    file: Annotated[Path, typer.Argument(help="A .safetensors file or an adapter's folder.")],
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="Also check that the adapter fits this model and changes its images."
        ),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option("--allow-partial", help="Also show an adapter that can only be read in part."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an adapter contains and what it claims about itself."""
    from siren_ext.adapters.read import read_adapter

    found = read_adapter(file, allow_partial=allow_partial)
    facts = adapter_facts(found)
    if base is not None:
        facts["fits"] = _try(found, base, allow_partial)
    if as_json:
        import json

        say(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for line in fact_lines(facts):
        say(line)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app, "adapter", example="siren-ext adapter suspect.safetensors --base v1-5.safetensors"
    )(adapter)


def adapter_facts(adapter: Adapter) -> dict[str, Any]:
    """What an adapter's tensors show and what its metadata claim.

    Parameters
    ----------
    adapter : Adapter
        read from a file.

    Returns
    -------
    dict[str, Any]
        plain values for JSON; the names are shown to users.
    """
    summary = adapter.summary()
    return {
        **summary.to_dict(),
        "not understood": list(summary.leftovers),
        "claims": summary.claims(),
    }


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """Format the facts about an adapter for reading.

    Parameters
    ----------
    facts : dict[str, Any]
        of :func:`adapter_facts`; ``fits`` may hold the result of a trial merge.

    Returns
    -------
    list[str]
        lines of text.
    """
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["kinds"].items())
    lines = [
        f"file        {facts['file']} ({facts['style']} keys)",
        f"sshs hash   {facts['hash']}",
        f"modules     {facts['modules']}, {facts['text_modules']} of them in text encoders"
        + (f": {kinds}" if kinds else ""),
        f"parameters  {facts['parameters']}",
    ]
    if facts["ranks"]:
        lines.append(f"ranks       {', '.join(str(rank) for rank in facts['ranks'])}")
    if facts["words"]:
        lines.append(f"words       {', '.join(facts['words'])}")
    lines += [f"not understood: {name}" for name in facts["not understood"]]
    if facts["claims"]:
        lines.append(_CLAIMS)
    for label, value in facts["claims"].items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{name} ({count})" for name, count in value.items())
        lines.append(f"  {label}: {shown}")
    fits = facts.get("fits")
    if fits is not None:
        lines.append(f"fits {fits['base']} and changes its images")
        lines += [f"warning: {warning}" for warning in fits["warnings"]]
    return lines


def _try(adapter: Adapter, base: str, allow_partial: bool) -> dict[str, Any]:
    import torch

    from siren_ext.diffusion.families import load_any_pipeline
    from siren_ext.diffusion.load import model_name
    from siren_ext.suspects.merging import merge_checked

    pipeline = load_any_pipeline(base, dtype=torch.float32)
    merge = merge_checked(pipeline, adapter, allow_partial=allow_partial)
    return {"base": model_name(base), "warnings": list(merge.warnings)}

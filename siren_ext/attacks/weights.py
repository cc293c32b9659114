"""Applies attacks by name to the weights in an adapter's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from siren_ext.adapters.files import read_parts
from siren_ext.attacks.registry import ATTACKS, attack_named, settings_named
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.files import atomic, is_present
from siren_ext.schema import shown

KNOWN = tuple(name for name, attack in ATTACKS.items() if attack.kind == "weights")
"""Names of the attacks on files of adapters."""


def attack_adapter(path: Path, out: Path, names: Sequence[str], given: Mapping[str, Any]) -> int:
    """Change all weights of an adapter's file and write a new one with the same metadata.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    out : Path
        The new file; must not exist.
    names : Sequence[str]
        Names in :data:`KNOWN`, in the order of the changes.
    given : Mapping[str, Any]
        Settings by name, for all of them that have it; ``half.form`` is for the attack ``half``.

    Returns
    -------
    int
        How many tensors were changed. Single numbers, such as alphas, are kept.

    Raises
    ------
    ConfigError
        If an attack is not for adapters, a setting is unknown or out of range, or ``out`` exists.
    AdapterError
        If the file can't be read, or has nothing that would be changed.

    Notes
    -----
    Hashes of the weights in the metadata are kept as they were. An adapter at part of its strength
    needs no new file: give its weight where it is loaded.
    """
    path, out = Path(path), Path(out)
    steps, used = [], set[str]()
    for name in names:
        attack = attack_named(name)
        if attack.kind != "weights":
            raise ConfigError(
                f"{name} is not for files of adapters; expected one of {', '.join(KNOWN)}."
            )
        own, keys = settings_named(name, given)
        steps.append((attack, attack.settings(own) or {}))
        used |= keys
    unknown = set(given) - used
    if not steps:
        raise ConfigError(f"No attack is named; expected one of {', '.join(KNOWN)}.")
    if unknown:
        raise ConfigError(f"{', '.join(names)} has no setting {shown(min(unknown))}.")
    if is_present(out):
        raise ConfigError(f"{out} exists already and is not overwritten; choose another name.")
    if path.is_dir():
        raise AdapterError(f"{path} is a folder; expected the .safetensors file in it.")
    (part,) = read_parts(path)
    changed = dict(part.tensors)
    wide = [key for key, one in changed.items() if one.numel() > 1 and one.is_floating_point()]
    if not wide:
        raise AdapterError(f"{path} has no weights that these attacks change; nothing is written.")
    for key in wide:
        for attack, settings in steps:
            changed[key] = attack.function(changed[key], None, **settings).contiguous()
    with atomic(out) as temporary:
        save_file(changed, temporary, part.metadata)
    return len(wide)

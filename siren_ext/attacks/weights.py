"""Applies attacks by name to the weights of an adapter or a whole model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from siren_ext.adapters.files import PICKLES, read_part
from siren_ext.attacks.attack import Attack
from siren_ext.attacks.registry import ATTACKS, attack_named, settings_named
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.files import atomic, is_present, one_at_a_time, sibling
from siren_ext.personalize.record import RECORD, RUN_KEY
from siren_ext.progress import NULL, Progress
from siren_ext.schema import shown

KNOWN = tuple(name for name, attack in ATTACKS.items() if attack.kind == "weights")
"""Names of the attacks on weights."""
MAX_MODEL = 32 << 30
"""Bytes of the largest file of weights that is read; all of it is in memory."""
_UNTRUE = (RUN_KEY, "sshs_model_hash", "sshs_legacy_hash")
_Steps = list[tuple[str, Attack, dict[str, Any]]]


@one_at_a_time
def attack_weights(
    path: Path,
    out: Path,
    names: Sequence[str],
    given: Mapping[str, Any],
    progress: Progress = NULL,
) -> int:
    """Change all weights of an adapter or a whole model, and write a new one.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file of a LoRA or a checkpoint, or the folder of a model or an adapter
        that diffusers reads, whose ``.safetensors`` files are changed and whose other files are
        copied.
    out : Path
        The new file or folder; must not exist.
    names : Sequence[str]
        Names in :data:`KNOWN`, in the order of the changes.
    given : Mapping[str, Any]
        Settings by name, for all of them that have it; ``half.form`` is for the attack ``half``.
    progress : Progress
        Told of every file; may cancel, and nothing is left then.

    Returns
    -------
    int
        How many tensors were changed. Single numbers, such as alphas, are kept, and ``int8`` keeps
        vectors of a file that has matrices too, as quantisers do.

    Raises
    ------
    BusyError
        If another run writes ``out``.
    ConfigError
        If an attack is not for weights, a setting is unknown or out of range, or ``out`` exists or
        is inside ``path``.
    AdapterError
        If a file can't be read, or nothing would be changed.
    Cancelled
        If the user stops.

    Notes
    -----
    The hashes of the weights and the record of the run that made them are left out, because they
    are no longer true. An adapter at part of its strength needs no new file: give its weight where
    it is loaded.
    """
    path, out = Path(path), Path(out)
    steps = _steps_of(names, given)
    if is_present(out):
        raise ConfigError(f"{out} already exists and was not overwritten; choose another name.")
    if path.is_dir():
        if out.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"{out} is inside {path}; choose a place outside it.")
        if out.suffix == ".safetensors":  # every reader would take it for a file
            raise ConfigError(
                f"{path} is a folder, so --out must be one too, but {out} is a file name; "
                "expected a name without .safetensors."
            )
        return _changed_folder(path, out, steps, progress)
    progress.stage("Changing weights", 1)
    count = _changed_file(path, out, steps)
    progress.advance()
    return count


def _steps_of(names: Sequence[str], given: Mapping[str, Any]) -> _Steps:
    """The attacks with their settings."""
    steps, used = [], set[str]()
    for name in names:
        attack = attack_named(name)
        if attack.kind != "weights":
            raise ConfigError(
                f"{name} does not change weights; expected one of {', '.join(KNOWN)}."
            )
        own, keys = settings_named(name, given)
        steps.append((name, attack, attack.settings(own) or {}))
        used |= keys
    unknown = set(given) - used
    if not steps:
        raise ConfigError(f"No attack was named; expected one of {', '.join(KNOWN)}.")
    if unknown:
        known = sorted({key for _, attack, _ in steps for key in attack.names})
        raise ConfigError(
            f"{', '.join(names)} has no setting {shown(min(unknown))}; expected "
            f"{'one of ' + ', '.join(known) if known else 'none. Leave it out'}."
        )
    return steps


def _changed_folder(path: Path, out: Path, steps: _Steps, progress: Progress) -> int:
    """Change every file of weights of a folder and copy the others."""
    inside = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
    files = [
        file for file in inside
        if not any(part.startswith(".") for part in file.parts) and file.name != RECORD
    ]  # fmt: skip
    weights = [file for file in files if file.suffix.lower() == ".safetensors"]
    unsafe = next((file for file in files if file.suffix.lower() in PICKLES), None)
    if unsafe is not None:
        raise AdapterError(
            f"{path.name} has {unsafe}, in a format that can run code when it is opened; expected "
            ".safetensors files only. Convert it to safetensors, or delete it if it is a copy."
        )
    if not weights:
        raise AdapterError(
            f"{path} has no .safetensors files; expected the folder of a model or an adapter."
        )
    new, count = sibling(out, ".new", "."), 0
    shutil.rmtree(new, ignore_errors=True)  # of a killed run
    progress.stage("Changing weights", len(files))
    try:
        for file in files:
            (new / file).parent.mkdir(parents=True, exist_ok=True)
            if file in weights:
                count += _changed_file(path / file, new / file, steps, alone=False)
            else:
                shutil.copyfile(path / file, new / file)
            progress.advance()
        if not count:
            raise _nothing(path)
        new.rename(out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return count


def _changed_file(path: Path, out: Path, steps: _Steps, *, alone: bool = True) -> int:
    """Write a file with changed weights; returns the number of tensors that were changed."""
    part = read_part(path, most=MAX_MODEL)
    changed = dict(part.tensors)
    wide = [key for key, one in changed.items() if one.numel() > 1 and one.is_floating_point()]
    if alone and not wide:
        raise _nothing(path)
    matrices = any(changed[key].ndim > 1 for key in wide)
    count = 0
    for key in wide:
        before = changed[key]
        for name, attack, settings in steps:
            if not (name == "int8" and matrices and before.ndim == 1):
                changed[key] = attack.function(changed[key], None, **settings).contiguous()
        count += changed[key] is not before
    kept = {name: value for name, value in part.metadata.items() if name not in _UNTRUE}
    with atomic(out) as temporary:
        save_file(changed, temporary, kept)
    return count


def _nothing(path: Path) -> AdapterError:
    return AdapterError(f"{path} has no weights that these attacks change, so nothing was written.")

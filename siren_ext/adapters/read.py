"""Read adapter files strictly into one internal form: a change per module."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from siren_ext.adapters.changes import (
    FULL,
    IA3,
    LOHA,
    LOKR,
    LORA,
    OFT,
    SPECTRAL,
    WHOLE,
    Change,
    rank_of,
)
from siren_ext.adapters.embeddings import Embedding, find_embeddings
from siren_ext.adapters.files import Part, read_parts
from siren_ext.adapters.keys import (
    PEFT,
    TEXT_PREFIX,
    UNET_PREFIX,
    Key,
    Place,
    adapter_names,
    parse_key,
    unread_name,
)
from siren_ext.adapters.orthogonal import peft_rotations, trained_rotations
from siren_ext.adapters.peft_settings import PeftSettings
from siren_ext.adapters.summary import AdapterSummary, joined_hash, listing
from siren_ext.documents import parse_json
from siren_ext.errors import AdapterError
from siren_ext.schema import convert

_DIFFUSERS_SETTINGS = "lora_adapter_metadata"
# for each kind of change the factors that it needs, and those that it may have
_EXTRA = {"alpha", "dora", "diff_b"}
_KINDS: tuple[tuple[str, set[str], set[str]], ...] = (
    (LORA, {"down", "up"}, {"mid", "up_bias", *_EXTRA}),
    (LOHA, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}, _EXTRA),
    (
        LOHA,
        {f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
        _EXTRA,
    ),
    (LOKR, {"lokr_w1", "lokr_w2"}, _EXTRA),
    (LOKR, {"lokr_w1", "lokr_w2_a", "lokr_w2_b"}, {"lokr_t2", *_EXTRA}),
    (LOKR, {"lokr_w1_a", "lokr_w1_b", "lokr_w2"}, _EXTRA),
    (LOKR, {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"}, {"lokr_t2", *_EXTRA}),
    (FULL, {"diff"}, {"diff_b"}),
    (FULL, {"diff_b"}, set()),
    (IA3, {"ia3", "on_input"}, set()),
    (IA3, {"ia3_l"}, set()),
    (OFT, {"oft_blocks"}, {"alpha", "rescale"}),
    (OFT, {"oft_diag"}, {"alpha", "rescale"}),
    (OFT, {"oft_R"}, set()),
    (SPECTRAL, {"delta"}, set()),
    (WHOLE, {"whole"}, {"whole_b"}),
)


@dataclass(frozen=True)
class Adapter:
    """A whole adapter, independent of any model.

    Attributes
    ----------
    path : Path
        The file or folder.
    hash : str
        Its hash; see :func:`siren_ext.adapters.files.adapter_hash`.
    style : str
        Whose key names it uses, such as ``kohya``; joined by + if there are several.
    changes : tuple of Change
        What it does to each module.
    embeddings : tuple of Embedding
        Words of a textual inversion.
    leftovers : tuple of str
        Keys that were not understood, with the reason; empty unless partial reading was allowed.
    metadata : dict of str to str
        What the file says about itself.
    settings : str
        SHA-256 of peft's settings, which are not part of ``hash``; empty without any.
    """

    path: Path
    hash: str
    style: str
    changes: tuple[Change, ...]
    embeddings: tuple[Embedding, ...] = ()
    leftovers: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict, repr=False)
    settings: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Words that a prompt must contain for the adapter's embeddings to act."""
        return tuple(dict.fromkeys(embedding.word for embedding in self.embeddings))

    def summary(self) -> AdapterSummary:
        """What the adapter contains."""
        kinds: dict[str, int] = {}
        for change in self.changes:
            kinds[change.name] = kinds.get(change.name, 0) + 1
        ranks = {change.rank for change in self.changes if change.rank is not None}
        own = [tensor for change in self.changes for tensor in change.parts.values()]
        own += [embedding.vectors for embedding in self.embeddings]
        return AdapterSummary(
            path=self.path,
            hash=self.hash,
            modules=len(self.changes),
            text_modules=sum(
                (c.place.component or "").startswith("text_encoder") for c in self.changes
            ),
            parameters=sum(tensor.numel() for tensor in own),
            ranks=tuple(sorted(ranks)),
            style=self.style,
            kinds=dict(sorted(kinds.items())),
            words=self.words,
            leftovers=self.leftovers,
            metadata=self.metadata,
            settings=self.settings,
        )


def read_adapter(path: Path, *, allow_partial: bool = False) -> Adapter:
    """Read an adapter.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a folder written by peft or diffusers.
    allow_partial : bool
        List keys that are not understood in ``leftovers``, instead of raising an error.

    Raises
    ------
    AdapterError
        If a key is not understood (with ``allow_partial`` only if none is), values are not finite,
        or settings are unknown.
    """
    path = Path(path)
    parts = read_parts(path)
    found: list[Adapter] = [_read_part(part) for part in parts]
    whole = replace(
        found[0],
        path=path,
        hash=joined_hash([one.hash for one in found]),
        changes=tuple(change for one in found for change in one.changes),
        embeddings=tuple(word for one in found for word in one.embeddings),
        leftovers=tuple(left for one in found for left in one.leftovers),
        settings=joined_hash([one.settings for one in found if one.settings] or [""]),
    )
    if not whole.changes and not whole.embeddings:
        held = listing(whole.leftovers) if whole.leftovers else "no tensors"
        raise AdapterError(f"{path.name} contains {held}; {_EXPECTED} Nothing was loaded.")
    if whole.leftovers and not allow_partial:
        raise AdapterError(
            f"{path.name} contains {len(whole.leftovers)} keys that aren't understood: "
            f"{listing(whole.leftovers)}; {_EXPECTED} Nothing was loaded, because a partly loaded "
            "adapter would give wrong results: convert it, or allow a partial load, which the "
            "report will then mention."
        )
    return whole


_EXPECTED = (
    f"expected LoRA, LoCon, LoHa, LoKr, DoRA, (IA)^3, OFT or full differences with kohya's keys "
    f"({UNET_PREFIX}..., {TEXT_PREFIX}...), peft's or diffusers', SVDiff, Custom Diffusion, or a "
    "textual inversion."
)


def read_summary(path: Path, *, allow_partial: bool = False) -> AdapterSummary:
    """What an adapter file contains.

    Parameters
    ----------
    path, allow_partial
        As in :func:`read_adapter`.

    Raises
    ------
    AdapterError
        As in :func:`read_adapter`.
    """
    return read_adapter(path, allow_partial=allow_partial).summary()


def _read_part(part: Part) -> Adapter:
    """The adapter in one file."""
    _check_numbers(part)
    names = adapter_names(part.tensors)
    if len(names) > 1:
        raise AdapterError(
            f"{part.path.name} contains {len(names)} adapters: {listing(names)}; expected one. "
            "Save each of them to a file of its own."
        )
    embeddings = find_embeddings(part.path, part.tensors)
    if embeddings:
        return Adapter(part.path, part.hash, "embedding", (), embeddings, metadata=part.metadata)
    fields: dict[Place, dict[str, Tensor]] = {}
    keys: dict[Place, Key] = {}
    left: list[str] = []
    styles: set[str] = set()
    for name, value in part.tensors.items():
        key = parse_key(name)
        if key is not None and part.component is not None and key.place.component is None:
            key = key._replace(place=Place(part.component, key.place.flat))
        if key is None:
            left.append(unread_name(name))
        elif not value.is_floating_point() and not _whole(key.field, value):
            left.append(f"{name} ({str(value.dtype).removeprefix('torch.')} numbers)")
        elif key.field in fields.get(key.place, {}):
            left.append(f"{name} (given twice)")
        else:
            fields.setdefault(key.place, {})[key.field] = value
            keys[key.place] = key
            styles.add(key.style)
    settings = _settings(part, styles)
    changes = []
    for place in sorted(fields, key=str):
        change = _change(keys[place], fields[place], settings)
        if isinstance(change, str):
            left.append(f"{keys[place].module} ({change})")
        else:
            changes.append(replace(change, module=keys[place].module))
    style = "+".join(sorted(styles)) or "unknown"
    return Adapter(
        part.path, part.hash, style, tuple(changes), (), tuple(sorted(left)), part.metadata,
        _mark(settings),
    )  # fmt: skip


def _whole(field: str, value: Tensor) -> bool:
    """Whether a factor may be a whole number: alpha (as svd_merge_lora.py writes it), on_input."""
    plain = value.dtype != torch.bool and not value.is_complex()
    return field == "on_input" or (field == "alpha" and plain)


def _check_numbers(part: Part) -> None:
    """Refuse empty tensors and values that are not finite."""
    bad = []
    for name, value in part.tensors.items():
        if value.numel() == 0:
            bad.append(f"{name} (empty)")
        elif value.is_floating_point():
            # isfinite does not support eight-bit formats
            wide = value if value.element_size() > 1 else value.float()
            if not bool(torch.isfinite(wide).all()) and not _unused_alpha(name, wide, part):
                bad.append(f"{name} (infinite or NaN values)")
    if bad:
        raise AdapterError(
            f"{part.path.name} is damaged: {listing(bad)}. Its training diverged, or the file was "
            "changed. It can't be used; get the file again or train it again."
        )


def _unused_alpha(name: str, value: Tensor, part: Part) -> bool:
    """Whether this is the alpha of a LoKr whose two factors are whole, which nothing divides.

    ai-toolkit sets it to 9999999999, which is infinite in half precision.
    """
    module = name.removesuffix(".alpha")
    whole = all(f"{module}.{factor}" in part.tensors for factor in ("lokr_w1", "lokr_w2"))
    return name != module and whole and value.numel() == 1 and float(value) == math.inf


def _settings(part: Part, styles: Iterable[str]) -> dict[str | None, PeftSettings]:
    """peft's settings by network (None for all), from the folder or diffusers' metadata."""
    if part.config is not None:
        return {None: PeftSettings(part.config, part.path.name)}
    packed = part.metadata.get(_DIFFUSERS_SETTINGS)
    if packed is not None:
        return _diffusers_settings(part.path.name, packed)
    if PEFT in styles:
        raise AdapterError(
            f"{part.path.name} is a peft adapter, but the adapter_config.json that gives its "
            "alpha is not beside it; expected both files. Give the folder that peft wrote."
        )
    return {}


def _mark(settings: Mapping[str | None, PeftSettings]) -> str:
    """SHA-256 of settings; empty without any."""
    facts = sorted((name or "", one.facts) for name, one in settings.items())
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() if facts else ""


def _diffusers_settings(source: str, packed: str) -> dict[str | None, PeftSettings]:
    """peft's settings by network, from the metadata of a file that diffusers wrote."""
    name, advice = f"The adapter metadata of {source}", "Download or copy it again."
    values = parse_json(packed, name=name, error=AdapterError, advice=advice)
    flat = convert(values, dict[str, object], name=name, error=AdapterError, advice=advice)
    tables: dict[str | None, dict[str, object]] = {}
    for name, value in flat.items():
        component, dot, setting = name.partition(".")
        tables.setdefault(component if dot else None, {})[setting if dot else name] = value
    return {component: PeftSettings(table, source) for component, table in tables.items()}


def _change(
    key: Key, parts: dict[str, Tensor], settings: Mapping[str | None, PeftSettings]
) -> Change | str:
    """The change of a module with these factors, or a phrase that says what is wrong."""
    parts = dict(parts)
    if "magnitude" in parts:
        parts["dora"] = _magnitude(parts.pop("magnitude"))
    names = set(parts)
    kind = next((k for k, need, may in _KINDS if need <= names <= need | may), None)
    if kind is None:
        return f"with {', '.join(sorted(names))}: no complete set of factors"
    rules = settings.get(key.place.component, settings.get(None))
    if kind == OFT:
        return _oft_change(key, parts, rules)
    alpha = parts.pop("alpha", None)
    if kind == IA3:
        return _ia3_change(key, parts, rules)
    scale = _scale(key, parts, kind, alpha, rules)
    if isinstance(scale, str):
        return scale
    return Change(key.place, kind, parts, scale)


def _scale(
    key: Key, parts: Mapping[str, Tensor], kind: str, alpha: Tensor | None,
    rules: PeftSettings | None,
) -> float | str:  # fmt: skip
    """The factor of a product, or a phrase that says what is wrong."""
    rank = rank_of(parts)
    if alpha is not None and alpha.numel() != 1:
        return "alpha is not one number"
    if alpha is not None and rules is not None:
        return "alpha both in the file and in the settings"
    if kind == FULL:
        return 1.0
    if rules is not None:
        return rules.scale(key.path, rank)
    # without alpha, alpha is the rank; LoKr with two full factors has no rank and ignores alpha
    if alpha is None or rank is None:
        return 1.0
    if float(alpha) == 0:
        return "alpha is 0, which programs interpret differently"
    return float(alpha) / rank


def _ia3_change(key: Key, parts: dict[str, Tensor], rules: PeftSettings | None) -> Change | str:
    """The change of an (IA)^3 vector, or a phrase that says what is wrong."""
    if "ia3" in parts:
        flag = parts["on_input"]
        if flag.numel() != 1 or float(flag) not in (0.0, 1.0):
            return "on_input is neither 0 nor 1"
        return Change(key.place, IA3, {"ia3": parts["ia3"]}, on_input=bool(flag))
    if rules is None:
        return "an (IA)^3 vector of peft without its settings"
    vector = parts["ia3_l"]
    on_input = rules.scales_input(key.path, tuple(vector.shape))
    factor = {"ia3": vector.float() - 1}
    return Change(key.place, IA3, factor, on_input=on_input, with_bias=True)


def _oft_change(key: Key, parts: Mapping[str, Tensor], rules: PeftSettings | None) -> Change | str:
    """The change of rotations, or a phrase that says what is wrong."""
    on_input = "oft_R" in parts
    if on_input:
        if rules is None:
            return "rotations of peft without its settings"
        rotation = peft_rotations(parts["oft_R"], rules.neumann_terms)
    elif rules is not None:
        return "rotations of kohya or LyCORIS with settings of peft"
    else:
        rotation = trained_rotations(parts)
    if isinstance(rotation, str):
        return rotation
    factors = {"rotation": rotation}
    if "rescale" in parts:
        factors["rescale"] = parts["rescale"].float()
    return Change(key.place, OFT, factors, on_input=on_input)


def _magnitude(value: Tensor) -> Tensor:
    """peft's magnitude, (out) or (1, out, 1, 1), as (out); LyCORIS' (1, in) is unchanged."""
    if value.ndim == 2 and value.shape[0] == 1 and value.shape[1] > 1:
        return value
    return value.flatten()

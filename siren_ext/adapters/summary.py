"""What an adapter file contains, and what it claims about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siren_ext.adapters.keys import KOHYA
from siren_ext.documents import parse_json
from siren_ext.errors import AdapterError

_SHOWN = 12
_LONGEST = 200
_LARGEST_JSON = 16 << 20
_LISTED = 10

_PLAIN = (
    ("name", ("ss_output_name", "modelspec.title")),
    ("base model", ("ss_sd_model_name",)),
    ("base model hash", ("ss_new_sd_model_hash", "ss_sd_model_hash")),
    ("model family", ("ss_base_model_version", "modelspec.architecture")),
    ("prediction", ("modelspec.prediction_type",)),
    ("resolution", ("ss_resolution", "modelspec.resolution")),
    ("training images", ("ss_num_train_images",)),
    ("epochs", ("ss_num_epochs", "ss_epoch")),
    ("steps", ("ss_steps", "ss_max_train_steps")),
    ("network", ("ss_network_module",)),
    ("made by", ("modelspec.implementation",)),
    ("made on", ("modelspec.date", "ss_training_finished_at")),
)


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter file contains.

    Attributes
    ----------
    path : Path
        The file or folder.
    hash : str
        Kohya's ``sshs_model_hash``, over the tensor bytes only.
    modules : int
        Number of changed modules.
    text_modules : int
        How many of these belong to text encoders.
    parameters : int
        Number of values in all tensors.
    ranks : tuple of int
        The different ranks, ascending.
    style : str
        Whose key names the file uses, such as ``kohya``.
    kinds : dict of str to int
        Number of modules per kind of change.
    words : tuple of str
        Trigger words of textual inversions.
    leftovers : tuple of str
        Keys that were not understood, if partial reading was allowed.
    metadata : dict of str to str
        What the file says about itself.
    settings : str
        SHA-256 of peft's settings, such as alpha; empty without any.
    """

    path: Path
    hash: str
    modules: int
    text_modules: int
    parameters: int
    ranks: tuple[int, ...]
    style: str = KOHYA
    kinds: dict[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict, repr=False)
    settings: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values for provenance, without folders and metadata."""
        return {
            "file": self.path.name,
            "hash": self.hash,
            "style": self.style,
            "kinds": dict(self.kinds),
            "modules": self.modules,
            "text_modules": self.text_modules,
            "parameters": self.parameters,
            "ranks": list(self.ranks),
            "words": list(self.words),
            **({"settings": self.settings} if self.settings else {}),
        }

    def claims(self) -> dict[str, Any]:
        """What the file's metadata say. These are hints, not proof: anybody can edit them.

        Returns
        -------
        dict
            Labels and values. ``folders`` has image counts by folder name and ``tags`` counts by
            tag, both the largest first; ``hash`` says whether the recorded hash is right.
        """
        found: dict[str, Any] = {}
        for label, names in _PLAIN:
            value = next((self.metadata[n] for n in names if self.metadata.get(n)), "None")
            if value != "None":
                found[label] = tame(value)
        if folders := _folders(self.metadata):
            found["folders"] = folders
        if tags := _tags(self.metadata.get("ss_tag_frequency", "")):
            found["tags"] = tags
        claimed = self.metadata.get("sshs_model_hash")
        if claimed:
            found["hash"] = "matches" if claimed == self.hash else f"differs: {tame(claimed)}"
        return found


def joined_hash(hashes: Sequence[str]) -> str:
    """The hash of a single file, or a common one of several files in order."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def listing(names: Sequence[str]) -> str:
    """The first names of a sorted list, safe to print, and how many more there are."""
    shown = ", ".join(tame(name) for name in sorted(names)[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


def tame(text: str) -> str:
    """Text from an untrusted file, shortened and without control characters."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)


def _folders(metadata: dict[str, str]) -> dict[str, int]:
    """Image counts by folder name, the largest first."""
    table = _table(metadata.get("ss_dataset_dirs", ""))
    counts = {
        tame(name): entry["img_count"]
        for name, entry in table.items()
        if isinstance(entry, dict) and isinstance(entry.get("img_count"), int)
    }
    return dict(sorted(counts.items(), key=lambda pair: -pair[1])[:_LISTED])


def _tags(text: str) -> dict[str, int]:
    """How often each tag occurs, the most frequent first."""
    counts: dict[str, int] = {}
    for tags in _table(text).values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                name = tame(tag.strip())
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items(), key=lambda pair: -pair[1])[:_LISTED])


def _table(text: str) -> dict[str, Any]:
    """A JSON object; empty if the text is too long or something else."""
    try:
        table = parse_json(text, name="metadata", error=AdapterError, max_bytes=_LARGEST_JSON)
    except AdapterError:
        return {}
    return table if isinstance(table, dict) else {}

"""A corpus of a few pictures, and a backbone in name only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from support.tiny_models import SIZE

from siren_ext.pocket.fidelity import WIDTH


class FakeBackbone:
    """A fixed random projection of tiny views in place of EfficientNet; counts its work."""

    def __init__(self) -> None:
        self.map = torch.randn(3 * 64, WIDTH, generator=torch.Generator().manual_seed(0))
        self.seen = 0

    def many(self, batches):
        rows = []
        for batch in batches:
            self.seen += len(batch)
            view = torch.nn.functional.interpolate(batch, (8, 8), mode="area")
            rows.append((view.flatten(1) @ self.map).numpy())
        return np.concatenate(rows)


def write_corpus(folder: Path, per_class: int = 10) -> Path:
    """Three photo classes of different colours and some drawings, at the tiny models' size."""
    rng = np.random.default_rng(0)
    images, rows = [], []
    for name, colour in (("cat", (220, 40, 40)), ("dog", (40, 220, 40)), ("bird", (40, 40, 220))):
        for _ in range(per_class):
            noise = rng.integers(-30, 30, (SIZE, SIZE, 3))
            images.append(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
            rows.append({"caption": f"a photo of a {name}", "source": "photo"})
    for index in range(per_class):
        images.append(rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8))
        rows.append({"caption": f"an emoji of thing {index}", "source": "google"})
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(images))
    (folder / "captions.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder

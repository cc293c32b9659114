"""Every reader of files from other people, with good files to begin with."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from support.fuzz_answers import answer_readers
from support.fuzz_evidence import evidence_readers
from support.fuzz_kept import kept_readers
from support.fuzz_models import model_readers
from support.fuzz_nodes import node_readers
from support.fuzz_reader import Reader, Sample, of_file, sample_of
from support.fuzz_reports import report_readers
from support.metadata_files import painters_photo, smooth
from support.score_sets import drawn
from support.toy_adapters import claiming

from siren_ext.adapters.read import read_adapter
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.torch_files import read_torch_file
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.journal import JOURNAL_NAME, CoatJournal
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.keys import encrypted_file
from siren_ext.panels.host import UploadLimits
from siren_ext.panels.uploads import collect_images
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.comfyui_workflow import read_workflow
from siren_ext.suspects.hosted import HostedConfig, HostedSuspect
from siren_ext.suspects.provenance import Provenance
from siren_ext.suspects.trust import Trust

HOSTED = """url = "https://api.example.com"
create = "/v1/predictions"
body = '{"input": {"prompt": "%prompt%", "seed": "%seed%", "width": "%size%"}}'
image = "output.0"
poll = "/v1/predictions/%id%"
interval = 0.5
price = 0.01
done = ["succeeded"]
download_hosts = ["cdn.example.com"]
"""
DATASET = """[general]
caption_extension = ".txt"
[[datasets]]
resolution = 512
  [[datasets.subsets]]
  image_dir = "10_fox"
  num_repeats = 10
  class_tokens = "fox"
"""
BEFORE = Path(__file__).resolve().parents[1] / "fixtures" / "before"
MUSUBI = """[general]
caption_extension = ".txt"
[[datasets]]
image_directory = "10_fox"
cache_directory = "cache"
num_repeats = 10
[[datasets]]
image_jsonl_file = "metadata.jsonl"
"""
SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
)
KEYED = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, message_bits=8, working_size=32
)


def readers(work: Path) -> list[Reader]:
    """All of them; their good files are made in ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    encrypted_file.COST = 14  # the least that a file may have, for speed
    coater = work / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    return [
        _images(work), _coaters(work, coater), *_coated(work, coater), _torch_files(work),
        _scores(work), *report_readers(work, coater), *evidence_readers(work, coater),
        _adapters(work), *_suspects(work), _scored(work, coater), *_datasets(work), _uploads(),
        *answer_readers(work), *node_readers(work), *model_readers(work),
        *kept_readers(work),
    ]  # fmt: skip


# -- pictures and coaters -------------------------------------------------------------------


def _images(work: Path) -> Reader:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a fox"
    plain: dict[str, Any] = {"exif": exif}
    ways = {
        "a.png": plain, "b.jpg": {**plain, "dpi": (72, 72), "progressive": True}, "c.webp": plain,
        "d.gif": {}, "e.bmp": {}, "f.tif": {"compression": "tiff_lzw"}, "g.tga": {}, "h.ppm": {},
        "i.jp2": {}, "j.avif": {},
    }  # fmt: skip
    samples = []
    for name, options in ways.items():
        try:
            smooth().save(work / name, **options)
        except (OSError, KeyError, ValueError):
            continue  # this Pillow has no encoder for it
        samples.append(sample_of(work / name, "png" if name.endswith("png") else ""))
    samples.append(sample_of(painters_photo(work / "k.jpg"), ""))
    for mode, name in (("P", "l.png"), ("RGBA", "m.png"), ("I;16", "n.png")):
        smooth(mode="L" if mode == "I;16" else mode).convert(mode).save(work / name)
        samples.append(sample_of(work / name, "png"))
    frames = [Image.fromarray(np.full((9, 9, 3), value, np.uint8)) for value in (3, 90, 200)]
    for name in ("o.gif", "p.webp", "q.png"):
        frames[0].save(work / name, save_all=True, append_images=frames[1:])
        samples.append(sample_of(work / name, "png" if name.endswith("png") else ""))
    return Reader("pictures", samples, of_file(read_picture))


def _coaters(work: Path, coater: Path) -> Reader:
    keyed = work / "keyed.safetensors"
    Coater(KEYED, seed=1).save(keyed)
    samples = [sample_of(coater, "safetensors"), sample_of(keyed, "safetensors")]
    return Reader("coaters", samples, of_file(Coater.load))


def _torch_files(work: Path) -> Reader:
    small = work / "small.pth"
    torch.save({"weight": torch.ones(2, 3), "steps": [1, 2]}, small)
    samples = [sample_of(small, ""), sample_of(small, "zip")]
    return Reader("torch files", samples, of_file(lambda path: read_torch_file(path, 1 << 24)))


def _pictures(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        smooth((40 + number, 32)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a fox")
    return folder


def _coated(work: Path, coater: Path) -> list[Reader]:
    loaded, out = Coater.load(coater), work / "coated"
    coat_folder(ImageSet.open(_pictures(work / "photos")), loaded, out)
    manifest = next(file for file in out.iterdir() if file.suffix == ".json")
    begun = CoatJournal(work / "begun", loaded.fingerprint, CoatConfig())
    entries = CoatManifest.load(manifest).entries
    begun.begin([entry.output for entry in entries], entries)
    begun.extend(["later.png"])
    journal = sample_of(work / "begun" / JOURNAL_NAME, "lines")

    old = sample_of(BEFORE / "siren_manifest.json", "json", "old.json")

    def recall(folder: Path, place: str) -> object:
        return CoatJournal(folder, loaded.fingerprint, CoatConfig())

    return [
        Reader("manifests", [sample_of(manifest, "json"), old], of_file(CoatManifest.load)),
        Reader("journals", [journal, sample_of(manifest, "json")], recall),
    ]


# -- scores -----------------------------------------------------------


def _scores(work: Path) -> Reader:
    drawn(5).save(work / "scores.json")
    measured = {"kind": "preference", "provenance": {"suspect": {}}, "settings": {"draws": 2}}
    dataclasses.replace(drawn(4), source=measured).save(work / "preference.json")
    files = [work / "scores.json", work / "preference.json", BEFORE / "scores.json"]
    samples = [sample_of(file, "json", f"{n}.json") for n, file in enumerate(files)]
    return Reader("scores and preferences", samples, of_file(ScoreSet.load))


def _scored(work: Path, coater: Path) -> Reader:
    loaded = Coater.load(coater)
    kept = {"0.png": (work / "photos" / "0.png").read_bytes()}
    return Reader(
        "provenance of scores",
        [sample_of(work / "made" / "provenance.json", "json")],
        lambda folder, place: score_folder(folder, loaded).to_dict(),
        kept,
    )


# -- models and suspects --------------------------------------------------------------------


def _adapters(work: Path) -> Reader:
    tags = {"10_fox": {"a fox": 4, "red": 2}}
    path = claiming(work, ss_tag_frequency=tags, ss_network_module="networks.lora", ss_steps="100")
    return Reader("adapters", [sample_of(path, "safetensors")], of_file(_adapter))


def _adapter(path: Path) -> object:
    found = read_adapter(path)
    return found.summary().claims()


def _suspects(work: Path) -> list[Reader]:
    trust = Trust(variables=("HOME",), ask=lambda *_: True)
    record = Provenance(
        kind="generated", suspect={"kind": "local"}, plan=PromptPlan().to_dict(), images={}
    )
    (work / "made").mkdir()
    record.save(work / "made")
    workflow = {
        "3": {"class_type": "KSampler", "inputs": {"seed": "%seed%", "model": ["4", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "%prompt%", "clip": ["4", 1]}},
    }
    return [
        Reader(
            "hosted.toml",
            [Sample("hosted.toml", HOSTED.encode(), "text")],
            of_file(lambda path: HostedSuspect(HostedConfig.read(path), None, trust).describe()),
        ),
        Reader(
            "provenance",
            [sample_of(work / "made" / "provenance.json", "json")],
            lambda folder, place: Provenance.load(folder),
        ),
        Reader(
            "workflows",
            [Sample("workflow.json", json.dumps(workflow).encode(), "json")],
            of_file(read_workflow),
        ),
        Reader(
            "settings",
            [Sample("plan.toml", b'prompts = ["a fox"]\ncount = 9\nguidance = 3.5\n', "text")],
            of_file(_settings),
        ),
    ]


def _settings(path: Path) -> object:
    from siren_ext.cli.common import settings

    return settings(PromptPlan, path)


# -- sets of pictures -----------------------------------------------------------------------


def _datasets(work: Path) -> list[Reader]:
    names = ("0.png", "1.png", "2.png")
    small = {name: (work / "photos" / name).read_bytes() for name in names}
    kept = {f"10_fox/{name}": data for name, data in small.items()}
    rows = [
        {"file_name": "0.png", "text": "a fox"},
        {"file_name": "1.png", "caption": "two foxes", "tags": "red"},
        {"image_path": "2.png", "prompt": "three"},
    ]
    table = 'file_name,text\n0.png,a fox\n1.png,"two, three"\n'
    captions = [
        Sample("metadata.jsonl", "\n".join(map(json.dumps, rows)).encode(), "lines"),
        Sample("metadata.csv", table.encode(), "text"),
        Sample("meta.json", json.dumps({"0": {"caption": "a", "tags": "b"}}).encode(), "json"),
        Sample("captions.tsv", b"0.png\ta fox\n1.png\ttwo foxes\n", "text"),
        Sample("0.txt", "ein Fuchs, größer".encode(), "text"),
        Sample("0.txt", "狐".encode("cp932"), ""),
        Sample("0.caption", "a fox".encode("utf-16"), ""),
    ]
    toml = [
        Sample("dataset.toml", DATASET.encode(), "text"),
        Sample("musubi.toml", MUSUBI.encode(), "text"),
    ]
    kept["metadata.jsonl"] = b'{"image_path": "10_fox/1.png", "caption": "a fox"}'
    return [
        Reader("dataset.toml", toml, of_file(ImageSet.open), kept),
        Reader("captions", captions, lambda folder, place: ImageSet.open(folder), small),
    ]


def _uploads() -> Reader:
    stream = io.BytesIO()
    picture = io.BytesIO()
    smooth((24, 20)).save(picture, "PNG")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("10_fox/0.png", "10_fox/0.txt", "5_cat/0.png", "metadata.jsonl", "notes.md"):
            text = b'{"file_name": "0.png", "text": "a fox"}' if "meta" in name else b"a fox"
            archive.writestr(name, picture.getvalue() if name.endswith("png") else text)
    limits = UploadLimits(files=20, file_mb=2, total_mb=8, megapixels=4)

    def collect(folder: Path, place: str) -> object:
        into = folder / "into"
        shutil.rmtree(into, ignore_errors=True)
        found = collect_images([str(folder / place)], "", limits, into)
        return ImageSet.open(found)

    return Reader("uploads", [Sample("set.zip", stream.getvalue(), "zip")], collect)

"""Score sets, pictures and readers for tests of reports."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from siren_ext.report.check import check_report
from siren_ext.report.integrity import write_seal
from siren_ext.report.write import write_report
from siren_ext.verdict.verify import verify


def save(path, seed, size=(32, 24)):
    pixels = np.random.default_rng(seed).integers(40, 200, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def written(suspect, reference, out, **options):
    verdict = verify(suspect, reference, options.pop("config", None))
    paths = write_report(verdict, suspect, reference, out, **options)
    return verdict, paths.html.read_text(encoding="utf-8"), json.loads(paths.json.read_text())


class Page(HTMLParser):
    """Collects tags and attributes and checks that every element is closed."""

    VOID = ("meta", "img", "br", "hr", "input", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def evidence(folder, count=3):
    pairs = []
    for i in range(count):
        first = save(folder / f"clean{i}.png", i)
        pixels = np.asarray(Image.open(first)) + np.uint8(2 + i)
        second = folder / f"coated{i}.png"
        Image.fromarray(pixels).save(second)
        pairs.append((first, second))
    return pairs


def states(found):
    return {point.name: point.state for point in found.points}


def texts(found):
    return {point.name: point.text for point in found.points}


def edit(folder, change, name="report.json"):
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    change(data)
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    (folder / name).write_text(text, encoding="utf-8")


def resealed(report, change, **given):
    """As a forger would: change a value and make the hashes fit again."""
    edit(report, change)
    write_seal(report)
    return check_report(report, **given)

"""IPTC fields: from resources to PNG texts and XMP and back, also malformed."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.metadata_files import IPTC, iptc_fields, resource

from siren_ext.data.iptc import (
    CUT,
    add_to_xmp,
    from_profile,
    kept_resources,
    read_fields,
    resources_of,
    to_profile,
)

FIELDS = resource(0x0404, iptc_fields(IPTC))
DC = "{http://purl.org/dc/elements/1.1/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def test_only_authorship_is_kept_of_photoshop_resources() -> None:
    thumbnail, copyrighted = resource(0x040C, b"preview"), resource(0x040A, b"\1")
    notes: list[str] = []
    assert kept_resources(thumbnail + FIELDS + copyrighted, notes) == FIELDS + copyrighted
    assert kept_resources(thumbnail, notes) is None
    assert notes == []
    assert kept_resources(resource(2000, b"path") + FIELDS, notes) == FIELDS
    assert notes == ["Photoshop paths were dropped."]


def test_a_named_and_an_odd_block_are_followed() -> None:
    named = b"8BIM" + struct.pack(">H", 0x03ED) + b"\x03abc" + struct.pack(">I", 3) + b"xyz\0"
    assert kept_resources(named + FIELDS, []) == FIELDS


def test_resources_of_other_programs_and_without_padding_are_followed() -> None:
    notes: list[str] = []
    for signature in (b"MeSa", b"AgHg"):
        other = signature + struct.pack(">HHI", 0x0404, 0, 2) + b"ab"
        assert kept_resources(other + FIELDS, notes) == FIELDS
    odd = b"8BIM" + struct.pack(">HHI", 0x03ED, 0, 3) + b"xyz"
    assert kept_resources(odd + FIELDS, notes) == FIELDS
    assert notes == []
    long = FIELDS[:8] + struct.pack(">I", len(FIELDS) - 12 + 2) + FIELDS[12:]
    assert read_fields(kept_resources(long, notes) or b"") == IPTC
    assert kept_resources(FIELDS + b"8BIMsome", notes) == FIELDS
    assert notes == [CUT, CUT]


@pytest.mark.parametrize("cut", range(0, len(FIELDS), 7))
def test_cut_resources_are_read_as_far_as_they_can_be(cut: int) -> None:
    notes: list[str] = []
    kept = kept_resources(FIELDS[:cut], notes)
    assert notes == ([CUT] if cut else [])
    texts = [text for some in IPTC.values() for text in some]
    there = [text for text in texts if FIELDS.index(text.encode()) + len(text) <= cut]
    found = read_fields(kept or b"")
    assert [text for some in found.values() for text in some] == there
    if text := to_profile(FIELDS[:cut]):
        from_profile(text)


def test_a_png_text_is_what_imagemagick_writes() -> None:
    text = to_profile(FIELDS)
    lines = text.split("\n")
    assert lines[1] == "iptc"
    assert lines[2] == f"{len(FIELDS):8d}"
    assert {len(line) for line in lines[3:-2]} == {72}
    assert from_profile(text) == FIELDS
    assert from_profile(to_profile(iptc_fields(IPTC))) == FIELDS
    for odd in ("", "\niptc\n", "\niptc\n 3\nxyz", "\niptc\n 3\n616263", "a b c"):
        assert from_profile(odd) is None


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_harmless(noise: bytes) -> None:
    for start in (b"", b"8BIM\x04\x04\0\0", FIELDS[:20]):
        kept_resources(start + noise, [])
        if block := resources_of(b"\x1c\x02\x50" + noise):
            read_fields(block)
            add_to_xmp(None, block, [])


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_texts_are_read_in_the_encodings_of_old_programs(encoding: str) -> None:
    block = resource(0x0404, iptc_fields({80: ["Zoë"]}, encoding))
    assert read_fields(block) == {80: ["Zoë"]}


def test_xmp_receives_the_fields_by_the_iptc_core_schema() -> None:
    notes: list[str] = []
    more = {**IPTC, 105: ["Fox & <Snow>"], 40: ["no \x0b training"]}
    packet = add_to_xmp(None, resource(0x0404, iptc_fields(more)), notes)
    assert packet is not None
    whole = ET.fromstring(packet[packet.index("<x:") : packet.rindex("<?")])
    found = {item.tag: [li.text for li in item.iter(f"{RDF}li")] for item in whole.iter()}
    assert found[f"{DC}creator"] == ["A. Painter"]
    assert found[f"{DC}rights"] == IPTC[116]
    assert found[f"{DC}subject"] == ["fox", "snow"]
    plain = {item.tag.rpartition("}")[2]: item.text for item in whole.iter()}
    assert plain["Headline"] == "Fox & <Snow>"
    assert plain["Instructions"] == "no   training"
    assert notes == []


def test_xmp_of_the_file_is_completed_and_not_overruled() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="uuid:7" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:creator><rdf:Seq><rdf:li>Other</rdf:li></rdf:Seq></dc:creator></rdf:Description>"
        "</rdf:RDF></x:xmpmeta>"
    )
    done = add_to_xmp(packet, FIELDS, [])
    assert done is not None
    whole = ET.fromstring(done)
    creators = [item for item in whole.iter(f"{DC}creator")]
    assert [li.text for item in creators for li in item.iter(f"{RDF}li")] == ["Other"]
    assert len(list(whole.iter(f"{DC}rights"))) == 1
    assert {item.get(f"{RDF}about") for item in whole.iter(f"{RDF}Description")} == {"uuid:7"}
    assert add_to_xmp(done, FIELDS, []) == done


def test_what_xmp_has_no_place_for_is_reported() -> None:
    notes: list[str] = []
    assert add_to_xmp("<broken", FIELDS, notes) == "<broken"
    assert add_to_xmp(None, resource(0x0404, iptc_fields({10: ["5"]})), notes) is None
    assert notes == [
        "The IPTC fields were dropped, because this file's XMP is malformed.",
        "IPTC fields that XMP has no place for were dropped.",
    ]

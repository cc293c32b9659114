"""IPTC fields: author, copyright and caption as photographers' programs write them.

JPEG and TIFF files hold them in Photoshop's image resources (blocks that begin with ``8BIM``, among
those of other Adobe programs), PNG files in a text of ImageMagick's, which ExifTool and others read
too. WebP has no place for them; there they become XMP, by the table of the IPTC Core schema.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from xml.sax.saxutils import escape

PROFILE_KEY = "Raw profile type iptc"
"""The PNG text that holds the resources, in hexadecimal digits."""

SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
"""How a resource begins; only those of the first kind can hold IPTC fields."""
CUT = "Photoshop resources are damaged; everything after the damage was dropped."

_FIELDS = 0x0404
# IPTC fields, "is copyrighted", address of the owner, checksum of the fields
_KEPT = frozenset({_FIELDS, 0x040A, 0x040B, 0x0425})
_PATHS = range(2000, 2999)
_UTF8 = b"\x1b%G"
_PLAIN = {
    40: "photoshop:Instructions",
    85: "photoshop:AuthorsPosition",
    90: "photoshop:City",
    92: "Iptc4xmpCore:Location",
    95: "photoshop:State",
    100: "Iptc4xmpCore:CountryCode",
    101: "photoshop:Country",
    103: "photoshop:TransmissionReference",
    105: "photoshop:Headline",
    110: "photoshop:Credit",
    115: "photoshop:Source",
    122: "photoshop:CaptionWriter",
}
_LISTS = {
    5: ("dc:title", "Alt"),
    25: ("dc:subject", "Bag"),
    80: ("dc:creator", "Seq"),
    116: ("dc:rights", "Alt"),
    120: ("dc:description", "Alt"),
}
_VERSION = 0
_NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    'xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"'
)
_EMPTY_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    "</rdf:RDF>\n</x:xmpmeta>\n"
    '<?xpacket end="w"?>'
)
_RDF_END = re.compile(r"</rdf:RDF\s*>")
_ABOUT = re.compile(r"rdf:about=([\"']).*?\1", re.DOTALL)
_MALFORMED_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _blocks(resources: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """Number and content of each ``8BIM`` resource, and whether all could be followed."""
    found: list[tuple[int, bytes]] = []
    start = 0
    while resources[start : start + 4] in SIGNATURES and len(resources) >= start + 12:
        (number,) = struct.unpack_from(">H", resources, start + 4)
        name = 1 + resources[start + 6]
        begin = start + 6 + name + name % 2
        if len(resources) < begin + 4:
            break
        (size,) = struct.unpack_from(">I", resources, begin)
        end = begin + 4 + size
        content = resources[begin + 4 : end]
        if end > len(resources):
            fields = sum(5 + len(text) for *_, text in _datasets(content))
            if number == _FIELDS and fields:  # those that are there as a whole
                found.append((number, content[:fields]))
            return found, False
        if resources.startswith(b"8BIM", start):
            found.append((number, content))
        start = end + size % 2
        if (
            resources[start : start + 4] not in SIGNATURES
            and resources[end : end + 4] in SIGNATURES
        ):
            start = end  # some programs don't pad
    return found, not resources[start:].strip(b"\0")


def _packed(number: int, content: bytes) -> bytes:
    head = b"8BIM" + struct.pack(">HHI", number, 0, len(content))
    return head + content + b"\0" * (len(content) % 2)


def kept_resources(resources: bytes, notes: list[str]) -> bytes | None:
    """The resources with authorship in a file's Photoshop resources.

    Previews of the uncoated image and Photoshop's own settings are left out.

    Parameters
    ----------
    resources : bytes
        The blocks, from the first ``8BIM``.
    notes : list of str
        Receives a note if the file has paths, or if resources are damaged.

    Returns
    -------
    bytes | None
        Blocks of the same form; None if there are none to keep.
    """
    found, whole = _blocks(resources)
    if not whole:
        notes.append(CUT)
    if any(number in _PATHS for number, _ in found):
        notes.append("Photoshop paths were dropped.")
    kept = [_packed(number, content) for number, content in found if number in _KEPT and content]
    return b"".join(kept) or None


def resources_of(fields: bytes) -> bytes | None:
    """IPTC fields as a Photoshop resource; None if there are none."""
    return _packed(_FIELDS, fields) if fields.startswith(b"\x1c") else None


def to_profile(resources: bytes) -> str:
    """The value of the PNG text :data:`PROFILE_KEY`: name, length, and lines of 72 digits."""
    digits = resources.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return f"\niptc\n{len(resources):8d}\n" + "\n".join(lines) + "\n"


def raw_profile(text: str) -> bytes | None:
    """The content of a PNG text of raw data, such as :data:`PROFILE_KEY`; None if malformed."""
    parts = text.split(None, 2)
    if len(parts) < 3 or not parts[1].isdecimal():
        return None
    try:
        return bytes.fromhex(parts[2])
    except ValueError:
        return None


def from_profile(text: str) -> bytes | None:
    """The resources in a PNG text; None if it is malformed."""
    content = raw_profile(text)
    if content is None:
        return None
    if content.startswith(b"\x1c"):  # some programs store the fields alone
        return resources_of(content)
    return content if content.startswith(SIGNATURES) else None


def _datasets(fields: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Record, number and content of each field (IPTC-IIM 4.2, section 1.5)."""
    start = 0
    while fields[start : start + 1] == b"\x1c" and len(fields) >= start + 5:
        record, number, size = struct.unpack_from(">BBH", fields, start + 1)
        content = fields[start + 5 : start + 5 + size]
        if size >= 0x8000 or len(content) < size:  # longer fields hold pictures, not text
            return
        yield record, number, content
        start += 5 + size


def read_fields(resources: bytes) -> dict[int, list[str]]:
    """Texts of the application record (record 2) by their numbers.

    Parameters
    ----------
    resources : bytes
        From :func:`kept_resources`.
    """
    fields = b"".join(content for number, content in _blocks(resources)[0] if number == _FIELDS)
    found = list(_datasets(fields))
    utf8 = any((record, number) == (1, 90) and _UTF8 in text for record, number, text in found)
    texts: dict[int, list[str]] = {}
    for record, number, content in found:
        if record == 2 and number != _VERSION:
            texts.setdefault(number, []).append(_text(content, utf8))
    return texts


def _text(content: bytes, utf8: bool) -> str:
    """A text in UTF-8, or in what programs write without saying so."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("utf-8" if utf8 else "cp1252", "replace")


def add_to_xmp(xmp: str | None, resources: bytes, notes: list[str]) -> str | None:
    """XMP with the IPTC fields that it does not have yet.

    Parameters
    ----------
    xmp : str | None
        The packet of the file.
    resources : bytes
        From :func:`kept_resources`.
    notes : list of str
        Receives a note if fields have no place in XMP.

    Returns
    -------
    str | None
        The packet; unchanged if nothing could be added.
    """
    packet = xmp or _EMPTY_XMP
    parts, left = [], False
    for number, texts in read_fields(resources).items():
        safe = [escape(_MALFORMED_XML.sub(" ", text)) for text in texts]
        if number in _PLAIN:
            name, value = _PLAIN[number], safe[0]
        elif number in _LISTS:
            name, kind = _LISTS[number]
            start = '<rdf:li xml:lang="x-default">' if kind == "Alt" else "<rdf:li>"
            items = "".join(f"{start}{text}</rdf:li>" for text in safe)
            value = f"<rdf:{kind}>{items}</rdf:{kind}>"
        else:
            left = True
            continue
        if name not in packet:
            parts.append(f"<{name}>{value}</{name}>")
    if parts and not (ends := list(_RDF_END.finditer(packet))):
        notes.append("The IPTC fields were dropped, because this file's XMP is malformed.")
        return xmp
    if left:
        notes.append("IPTC fields that XMP has no place for were dropped.")
    if not parts:
        return xmp
    match = _ABOUT.search(packet)
    about = match[0] if match else 'rdf:about=""'
    addition = f"<rdf:Description {about} {_NAMESPACES}>{''.join(parts)}"
    end = ends[-1].start()
    return f"{packet[:end]}{addition}</rdf:Description>\n{packet[end:]}"

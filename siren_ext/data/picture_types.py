"""Which type of picture a file is, by its first bytes and its suffix."""

from __future__ import annotations

from siren_ext.data.image_files import readable_formats, readable_suffixes

HEAD_BYTES = 64
"""How many bytes at the beginning of a file tell its type."""

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "HEIF": ".heic",
    "AVIF": ".avif",
    "JXL": ".jxl",
}
"""The usual suffix of each type that is known by its first bytes."""

RAW = "RAW"
_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"}
    | {".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw"}
    | {".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
# pictures and drawings of other programs, which have to be exported
_EXPORTED_SUFFIXES = frozenset(
    {".psd", ".psb", ".xcf", ".kra", ".clip", ".sai", ".sai2", ".ora", ".procreate", ".mdp"}
    | {".afphoto", ".afdesign", ".svg", ".svgz", ".ai", ".eps", ".wmf", ".emf", ".exr", ".hdr"}
    | {".dds", ".pcx", ".sgi", ".ico", ".icns"}
)
_PLUGIN_SUFFIXES = {
    ".heic": "HEIF",
    ".heics": "HEIF",
    ".heif": "HEIF",
    ".heifs": "HEIF",
    ".hif": "HEIF",
    ".avif": "AVIF",
    ".avifs": "AVIF",
    ".jxl": "JXL",
}
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
    b"FUJIFILMCCD-RAW": RAW,
    b"IIU\0": RAW,
    b"IIRO": RAW,
    b"IIRS": RAW,
    b"FOVb": RAW,
    b"8BPS": "PSD",
    b"gimp xcf": "XCF",
}
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_NAMES = {"HEIF": "HEIC", "JXL": "JPEG XL", RAW: "camera RAW"}
_ADVICE = {
    "HEIF": "install pillow-heif to read them",
    "AVIF": "install pillow-avif-plugin to read them",
    "JXL": "install pillow-jxl-plugin to read them",
}


def type_by_content(head: bytes) -> str | None:
    """The type of a file by its first bytes, whatever it is called.

    Parameters
    ----------
    head : bytes
        The first :data:`HEAD_BYTES` bytes, or fewer if the file is shorter.

    Returns
    -------
    str | None
        A key of :data:`SUFFIXES`, :data:`RAW`, PSD, XCF, or None if the bytes say nothing.
    """
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        size = min(len(head), max(16, int.from_bytes(head[:4], "big")))
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, size, 4))}
        if b"crx " in brands:
            return RAW
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    return None


def picture_type(suffix: str, head: bytes) -> str | None:
    """The type of a picture file; None for other files.

    The content decides. The suffix decides if the content says nothing, and for camera RAW files,
    most of which begin as TIFF files do.

    Parameters
    ----------
    suffix : str
        In lower case, with a dot; may be empty.
    head : bytes
        The first :data:`HEAD_BYTES` bytes.

    Returns
    -------
    str | None
        A type as in :func:`type_by_content`, "other" for the further types that Pillow reads, or
        the suffix in capital letters for types that have to be exported first.
    """
    content = type_by_content(head)
    if suffix in _RAW_SUFFIXES and content in (None, "TIFF"):
        return RAW
    if content is not None:
        return content
    if suffix in readable_suffixes():
        return "other"
    if suffix in _EXPORTED_SUFFIXES:
        return suffix[1:].upper()
    return _PLUGIN_SUFFIXES.get(suffix)


def can_read(kind: str) -> bool:
    """Whether pictures of a type from :func:`picture_type` can be read on this machine."""
    return kind == "other" or kind in readable_formats()


def why_unread(kind: str) -> str:
    """Why pictures of a type are left out, and what to do."""
    advice = _ADVICE.get(kind, "export them as PNG or JPEG")
    return f"{_NAMES.get(kind, kind)} files can't be read here; {advice}."

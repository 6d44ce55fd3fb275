"""What kind of file some bytes are: by what was said of them, else by how they begin."""

from __future__ import annotations

import re

UNKNOWN = "application/octet-stream"

_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_BY_FORMAT = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "pcm": "audio/pcm",
    "pcm16": "audio/pcm",
    "pdf": "application/pdf",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}
"""What dialects say in a member `format`."""
_ALIASES = {"audio/mp3": "audio/mpeg", "audio/x-wav": "audio/wav", "image/jpg": "image/jpeg"}
_BEGINNINGS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(expression, re.DOTALL), content_type)
    for expression, content_type in (
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"RIFF....AVI ", "video/x-msvideo"),
        (rb"%PDF-", "application/pdf"),
        (rb"....ftyp(?:heic|heix|mif1)", "image/heic"),
        (rb"....ftypavif", "image/avif"),
        (rb"....ftypM4A", "audio/mp4"),
        (rb"....ftypqt", "video/quicktime"),
        (rb"....ftyp", "video/mp4"),
        (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][^\x00\xff]", "audio/mpeg"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
        (rb"OggS", "audio/ogg"),
        (rb"fLaC", "audio/flac"),
        (rb"\x1a\x45\xdf\xa3", "video/webm"),
        (rb"II\*\x00|MM\x00\*", "image/tiff"),
        (rb"BM....\x00\x00\x00\x00", "image/bmp"),
        (rb"PK\x03\x04", "application/zip"),
        (rb"\x1f\x8b\x08", "application/gzip"),
    )
)
"""What prompts carry, in a table: a library knows a hundred formats more, and takes its time to load."""

UPLOADED = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/jpg",
        "image/webp",
        "image/gif",
        "image/tiff",
        "image/bmp",
        "image/avif",
        "image/heic",
        "audio/mpeg",
        "audio/mp3",
        "audio/wav",
        "audio/ogg",
        "audio/oga",
        "audio/aac",
        "audio/mp4",
        "audio/flac",
        "audio/opus",
        "audio/webm",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/mpeg",
        "video/quicktime",
        "video/x-msvideo",
        "video/x-matroska",
        "application/pdf",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    }
)
"""Of the types that Langfuse takes those that people look at. Text and archives of text are left out: in
base64 the redaction does not see what they hold."""


def beginning_of(data: bytes) -> str | None:
    """The media type that the first bytes show."""
    return next((kind for pattern, kind in _BEGINNINGS if pattern.match(data)), None)


def type_of_word(word: str) -> str | None:
    """The media type that is meant by one, or by a word like `png`; None when it says nothing."""
    word = word.replace("\\", "").strip().lower()
    if not _TYPE.fullmatch(word):
        return _BY_FORMAT.get(word)
    return None if word == UNKNOWN else _ALIASES.get(word, word)

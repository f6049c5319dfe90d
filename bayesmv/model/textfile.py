"""Files of users as bytes and as text: unpacked within bounds and decoded, or refused in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_OPEN: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: Most bytes that a file is unpacked to.
LARGEST = 4_000_000_000


def read_bytes(path: Path, what: str, error: type[ValueError]) -> bytes:
    """Bytes of a file, compressed (.gz, .bz2, .xz) or not.

    Parameters
    ----------
    path
        The file.
    what
        What it is, for messages: ``data file``.
    error
        Class of the errors.

    Raises
    ------
    ValueError
        Of class `error`: if the file is absent, cannot be read, or is too large.
    """
    unpack = _OPEN.get(path.suffix.lower(), io.FileIO)
    try:
        with unpack(path) as file:
            content: bytes = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise error(f"no {what} '{path}'") from None
    except (OSError, EOFError, lzma.LZMAError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error(f"cannot read the {what} '{path}': {reason}") from None
    if len(content) > LARGEST:
        raise error(f"the {what} '{path}' has more than {LARGEST:,} bytes, which is more than is read")
    return content


def read_text(path: Path, what: str, error: type[ValueError]) -> str:
    """Text of a file in UTF-8, with a byte order mark or without, compressed or not; arguments as `read_bytes`.

    Raises
    ------
    ValueError
        Of class `error`: as `read_bytes`, and if it is not text in UTF-8.
    """
    content = read_bytes(path, what, error)
    save = "save it as UTF-8 text"
    if content.startswith(_UTF16):
        raise error(f"cannot read the {what} '{path}': it is in UTF-16; {save}")
    require_no_zeros(content, f"the {what} '{path}'", error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line, byte = content.count(b"\n", 0, problem.start) + 1, content[problem.start]
        raise error(
            f"cannot read the {what} '{path}': it is not in UTF-8 (byte 0x{byte:02x} in line {line}, perhaps an "
            f"accented letter in Latin-1); {save}"
        ) from None


def decode(content: bytes, what: str, encoding: str | None, error: type[ValueError]) -> tuple[str, str]:
    """Text of bytes, and how they were decoded where that is not UTF-8: in the encoding given, or as recognised.

    UTF-16 is told by its byte order mark; what is no UTF-8 is Windows-1252, the Latin alphabet of Windows and Excel.

    Raises
    ------
    ValueError
        Of class `error`: if the bytes are no text in that encoding.
    """
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff"), ""
        except UnicodeDecodeError as problem:
            line = content.count(b"\n", 0, problem.start) + 1
            raise error(f"cannot read {what}: line {line} is not in {encoding}; name its encoding in [read]") from None
    if content.startswith(_UTF16) and not content.startswith(b"\xff\xfe\0\0"):
        try:
            return content.decode("utf-16"), "in UTF-16"
        except UnicodeDecodeError:
            raise error(f"cannot read {what}: it begins like UTF-16 and is not; save it as UTF-8 text") from None
    require_no_zeros(content, what, error)
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError as problem:
        line, byte = content.count(b"\n", 0, problem.start) + 1, content[problem.start : problem.start + 1]
    try:
        return content.decode("cp1252"), f"in Windows-1252 (line {line} has {byte.decode('cp1252')!r})"
    except UnicodeDecodeError:
        raise error(
            f"cannot read {what}: it is neither UTF-8 nor Windows-1252 (byte 0x{byte.hex()} in line {line}); name its "
            f"encoding in [read], or save it as UTF-8 text"
        ) from None


def require_no_zeros(content: bytes, what: str, error: type[ValueError]) -> None:
    """Refusal of bytes that are no text."""
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise error(f"cannot read {what}: it has zero bytes, the first in line {line}; save it as UTF-8 text")

"""Text files of users: decoded, or refused in one line."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

_DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, what: str, error: type[ValueError]) -> str:
    """Text of a file in UTF-8, with a byte order mark or without, compressed (.gz, .bz2, .xz) or not.

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
        Of class `error`: if the file is absent, cannot be read, or is not text in UTF-8.
    """
    try:
        content = _DECOMPRESS.get(path.suffix.lower(), bytes)(path.read_bytes())
    except FileNotFoundError:
        raise error(f"no {what} '{path}'") from None
    except (OSError, EOFError, lzma.LZMAError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error(f"cannot read the {what} '{path}': {reason}") from None
    save = "save it as UTF-8 text"
    if content.startswith(_UTF16):
        raise error(f"cannot read the {what} '{path}': it is in UTF-16; {save}")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise error(f"cannot read the {what} '{path}': it has zero bytes, the first in line {line}; {save}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line, byte = content.count(b"\n", 0, problem.start) + 1, content[problem.start]
        raise error(
            f"cannot read the {what} '{path}': it is not in UTF-8 (byte 0x{byte:02x} in line {line}, perhaps an "
            f"accented letter in Latin-1); {save}"
        ) from None

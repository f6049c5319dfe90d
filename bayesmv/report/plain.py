"""Plain characters, for terminals and files that know no others."""

from __future__ import annotations

import codecs
import unicodedata

#: What stands for the signs that bayesmv prints where they cannot be written.
_PLAIN = str.maketrans(
    {
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "²": "^2",
        "±": "+/-",
        "·": ".",
        "→": "->",
        "≈": "~",
        "∞": "inf",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "σ": "s",
        "Σ": "S",
        "θ": "theta",
        "µ": "u",
        "μ": "u",
        "⁻": "^-",
        "¹": "^1",
        "\N{NO-BREAK SPACE}": " ",
    }
)

#: Name under which Python knows :func:`plain` as the answer to characters that a stream cannot write.
PLAIN_ERRORS = "bayesmv.plain"


def plain(text: str, encoding: str) -> str:
    """Text with signs that an encoding lacks written in others: ``>=`` for ``≥``, letters without accents, else ``?``.

    >>> plain("R-hat ≤ 1.01, 2 × 2, Høgh", "ascii")
    'R-hat <= 1.01, 2 x 2, H?gh'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_fitting(letter, encoding) for letter in text)
    except LookupError:
        return plain(text, "ascii")
    return text


def _fitting(letter: str, encoding: str) -> str:
    for found in (letter, letter.translate(_PLAIN), unicodedata.normalize("NFKD", letter)[0]):
        try:
            found.encode(encoding)
        except UnicodeEncodeError:
            continue
        return found
    return "?"


def _answer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end], error.encoding), error.end


codecs.register_error(PLAIN_ERRORS, _answer)

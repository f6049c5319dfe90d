"""Grammar of formulas: what a user writes becomes a frozen tree of names, numbers, operators and listed functions.

A formula is data. It is read here, before any library sees it, and what is not in the grammar is refused by name;
nothing of it is evaluated, looked up or imported.

    sum      = ["+" | "-"] product {("+" | "-") product}
    product  = crossing {("*" | "/") crossing}
    crossing = power {":" power}
    power    = atom ["**" sign power]
    atom     = name | number | function "(" argument {"," argument} ")" | "(" sum ")"
    argument = sum | text | "[" number {"," number} "]" | word "=" (number | text | list)

Names are words in any script, a dot is part of them; in back-quotes they may hold anything (a back-quote doubled).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bayesmv.errors import SpecError

#: Longest formula in characters, deepest nesting of brackets and powers, most digits of a number.
LONGEST, DEEPEST, DIGITS = 50_000, 40, 40

#: Functions that a formula may use.
FUNCTIONS = ("C", "leg", "spl", "poly", "bs", "cr", "ns", "center", "scale", "log", "log1p", "exp", "sqrt", "abs", "I")
_ALLOWED = (
    "column names (in back-quotes if they hold spaces or signs), numbers, + - * / ** : ( ) and the functions "
    + " ".join(FUNCTIONS)
)
_QUOTE = "`"


@dataclass(frozen=True, kw_only=True)
class Name:
    """Column of the data."""

    column: str

    def __str__(self) -> str:
        return quoted(self.column)


@dataclass(frozen=True, kw_only=True)
class Number:
    """Number as written, never negative."""

    text: str

    @property
    def value(self) -> float:
        """Its value."""
        return float(self.text)

    @property
    def whole(self) -> int | None:
        """Its value if it was written as a whole number."""
        return int(self.text) if self.text.isdecimal() else None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text in quotation marks, an argument."""

    text: str

    def __str__(self) -> str:
        return repr(self.text)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """List of numbers, an argument."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"[{', '.join(repr(v).removesuffix('.0') for v in self.values)}]"


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Nodes with their signs, +1 or -1."""

    parts: tuple[tuple[int, Node], ...]

    def __str__(self) -> str:
        first, *rest = [("-" if sign < 0 else "", node) for sign, node in self.parts]
        tail = "".join(f" {minus or '+'} {_inside(node, Sum)}" for minus, node in rest)
        return f"{first[0]}{_inside(first[1], Sum)}{tail}"


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Nodes joined by ``*`` and ``/``, or by ``:``, from left to right: (operator before it, node)."""

    parts: tuple[tuple[str, Node], ...]

    def __str__(self) -> str:
        crossing = self.parts[1][0] == ":"
        loose = (Sum, Chain) if crossing else (Sum,)
        first, *rest = [_inside(node, *loose) for _, node in self.parts]
        signs = [":" if crossing else f" {sign} " for sign, _ in self.parts[1:]]
        return first + "".join(sign + text for sign, text in zip(signs, rest, strict=True))


@dataclass(frozen=True, kw_only=True)
class Power:
    """A node to a power."""

    base: Node
    exponent: Node

    def __str__(self) -> str:
        return f"{_inside(self.base, Sum, Chain, Power)} ** {_inside(self.exponent, Sum, Chain)}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One of the listed functions with its arguments."""

    function: str
    arguments: tuple[Node, ...]
    named: tuple[tuple[str, Node], ...] = ()

    def __str__(self) -> str:
        named = [f"{word}={value}" for word, value in self.named]
        return f"{self.function}({', '.join([*map(str, self.arguments), *named])})"


type Node = Name | Number | Text | Numbers | Sum | Chain | Power | Call


def _inside(node: Node, *loose: type) -> str:
    return f"({node})" if isinstance(node, loose) else str(node)


# ---------------------------------------------------------------- names


def _begins_name(char: str) -> bool:
    return char in "_." or char.isalpha()


def _continues_name(char: str) -> bool:
    # Letters of many scripts are followed by marks (vowel signs, accents) that are not letters themselves.
    return char in "_." or char.isalnum() or unicodedata.category(char) in ("Mn", "Mc") or char in "\u200c\u200d"


def is_name(text: str) -> bool:
    """Whether a text is a name that needs no back-quotes.

    >>> is_name("birth.year"), is_name("naissance_été"), is_name("birth year"), is_name(".5")
    (True, True, False, False)
    """
    return (
        bool(text)
        and _begins_name(text[0])
        and not (text[0] == "." and text[1:2].isdigit())
        and all(map(_continues_name, text))
    )


def quoted(column: str) -> str:
    """Name as it is written in a formula: in back-quotes where it needs them.

    >>> quoted("birth.year"), quoted("birth year")
    ('birth.year', '`birth year`')
    """
    return column if is_name(column) else _QUOTE + column.replace(_QUOTE, _QUOTE * 2) + _QUOTE


def unquoted(text: str) -> str | None:
    """Column that a text names, bare or in back-quotes; None if it is no name.

    >>> unquoted("age"), unquoted("`my age`"), unquoted("my age")
    ('age', 'my age', None)
    """
    if is_name(text):
        return text
    if len(text) < 3 or text[0] != _QUOTE:
        return None
    end = quote_end(text, 0)
    return text[1 : end - 1].replace(_QUOTE * 2, _QUOTE) if end == len(text) else None


def bare(text: str) -> str:
    """Column that a text names, in back-quotes or as it stands.

    >>> bare("`my age`"), bare("my age")
    ('my age', 'my age')
    """
    name = unquoted(text)
    return text if name is None else name


def quote_end(text: str, start: int) -> int:
    """Place after the back-quoted name that begins at `start`; -1 where it does not end."""
    i = start + 1
    while True:
        i = text.find(_QUOTE, i)
        if i < 0 or text[i + 1 : i + 2] != _QUOTE:
            return i + 1 if i >= 0 else -1
        i += 2


def require_short(text: str) -> None:
    """Refusal of what is too long to be a formula."""
    if len(text) > LONGEST:
        raise SpecError(
            f"a formula of {len(text)} characters is longer than the {LONGEST} that are read: '{text[:30]}…'"
        )


# ---------------------------------------------------------------- parts of terms


def _pieces(text: str, separators: str) -> list[tuple[str, str]]:
    """Parts between one-character separators outside brackets and back-quotes, each with the separator before it."""
    require_short(text)
    shown = _short(text.strip())
    parts, depth, start, before, i = [], 0, 0, "", 0
    while i < len(text):
        char = text[i]
        if char == _QUOTE:
            i = quote_end(text, i)
            if i < 0:
                raise SpecError(f"a name in back-quotes does not end in '{shown}'")
            continue
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            raise SpecError(f"unbalanced brackets in '{shown}': a ')' too many")
        if depth > DEEPEST:
            raise SpecError(f"brackets in '{shown}' are nested deeper than {DEEPEST}")
        if char in separators and depth == 0:
            parts.append((before, text[start:i].strip()))
            start, before = i + 1, char
        i += 1
    if depth:
        raise SpecError(f"unbalanced brackets in '{shown}': a ')' is missing")
    return [*parts, (before, text[start:].strip())]


def split_top(text: str, separator: str) -> list[str]:
    """Parts between a one-character separator outside brackets and back-quotes.

    >>> split_top("us(trait):A + at(trait, x):`B + C`", "+")
    ['us(trait):A', 'at(trait, x):`B + C`']
    """
    return [part for _, part in _pieces(text, separator)]


def split_signs(text: str) -> list[tuple[str, str]]:
    """Parts of a sum, each with the sign before it.

    >>> split_signs("x - 1")
    [('+', 'x'), ('-', '1')]
    """
    return [(sign or "+", part) for sign, part in _pieces(text, "+-")]


def call_parts(text: str) -> tuple[str, list[str]] | None:
    """Word and arguments of ``word(argument, …)``; None if a text is no call.

    >>> call_parts("fa(trait, 2)"), call_parts("trait")
    (('fa', ['trait', '2']), None)
    """
    word, bracket, rest = text.partition("(")
    if not bracket or not rest.endswith(")") or not is_name(word.rstrip()):
        return None
    return word.rstrip(), split_top(rest[:-1], ",")


def number(text: str) -> float:
    """Finite number of a plain text; ValueError for other texts."""
    if len(text) > DIGITS or not text.isascii() or "_" in text or not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


# ---------------------------------------------------------------- tokens


class Token(NamedTuple):
    """Piece of a formula: kind (name, quoted, number, text, sign, end), text, place of its first character."""

    kind: str
    text: str
    place: int


_SIGNS = "+-*/:(),[]=^"


def _tokens(text: str) -> Iterator[Token]:
    i = 0
    while i < len(text):
        char = text[i]
        if char.isspace():
            i += 1
            continue
        kind, end = _scan(text, i)
        yield Token(kind, text[i:end], i)
        i = end
    yield Token("end", "", len(text))


def _scan(text: str, i: int) -> tuple[str, int]:
    """Kind of the token that begins at i, and the place after it."""
    char = text[i]
    if char == _QUOTE:
        end = quote_end(text, i)
        if end < 0 or end == i + 2:
            raise _refusal(text, i, "a name in back-quotes that does not end" if end < 0 else "a name without letters")
        return "quoted", end
    if char in "0123456789" or (char == "." and text[i + 1 : i + 2] in set("0123456789")):
        return "number", _number_end(text, i)
    if _begins_name(char):
        end = i + 1
        while end < len(text) and _continues_name(text[end]):
            end += 1
        if text[end : end + 1] in ("'", '"'):
            raise _refusal(text, i, f"{text[i : end + 1]!r}, text with a prefix")
        return "name", end
    if char in "'\"":
        end = text.find(char, i + 1)
        if end < 0 or "\\" in text[i:end] or "\n" in text[i:end]:
            raise _refusal(text, i, "text in quotation marks that does not end on its line, or with a backslash")
        return "text", end + 1
    if char in _SIGNS:
        return "sign", i + 2 if text[i : i + 2] == "**" else i + 1
    raise _refusal(text, i, repr(char))


def _number_end(text: str, i: int) -> int:
    end = i
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    if text[end : end + 1] in ("e", "E"):
        digits = end + 1 + (text[end + 1 : end + 2] in ("+", "-"))
        if text[digits : digits + 1] in set("0123456789"):
            end = digits
            while end < len(text) and text[end] in "0123456789":
                end += 1
    written = text[i:end]
    if end < len(text) and _continues_name(text[end]):
        while end < len(text) and _continues_name(text[end]):
            end += 1
        raise _refusal(text, i, f"'{_short(text[i:end])}': a name that begins with a digit stands in back-quotes")
    if len(written) > DIGITS or written.count(".") > 1 or not math.isfinite(float(written)):
        raise _refusal(text, i, f"the number '{_short(written)}'")
    return end


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:30]}…"


def _refusal(text: str, place: int, what: str) -> SpecError:
    """Error that names a piece, its place, and what is allowed."""
    before, after = text[max(0, place - 30) : place], text[place : place + 30]
    around = ("…" if place > 30 else "") + before + after + ("…" if place + 30 < len(text) else "")
    return SpecError(
        f"the formula '{around.strip()}' is not understood: {what} at character {place + 1}; a formula has {_ALLOWED}"
    )


# ---------------------------------------------------------------- parser


def parse(text: str) -> Node:
    """Tree of a formula.

    Raises
    ------
    SpecError
        Naming the piece that is not in the grammar, its place, and what is allowed.

    Examples
    --------
    >>> print(parse("1+sex*leg(age,2)"))
    1 + sex * leg(age, 2)
    """
    require_short(text)
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        if len(self.tokens) == 1:
            raise SpecError("an empty formula; write 1 for a mean, or 0 for none")
        node = self._sum()
        if self._next.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _next(self) -> Token:
        return self.tokens[self.at]

    def _take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def _sees(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    def _expect(self, sign: str) -> None:
        if not self._sees(sign):
            raise self._unexpected(f" where '{sign}' should be")
        self._take()

    def _unexpected(self, where: str = "") -> SpecError:
        token = self._next
        what = "its end" if token.kind == "end" else f"'{_short(token.text)}'"
        return _refusal(self.text, token.place, what + where)

    def _deeper(self, parse: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refusal(self.text, self._next.place, f"nesting deeper than {DEEPEST}")
        node = parse()
        self.depth -= 1
        return node

    def _sum(self) -> Node:
        parts = []
        sign = (-1 if self._take().text == "-" else 1) if self._sees("+", "-") else 1
        parts.append((sign, self._product()))
        while self._sees("+", "-"):
            sign = -1 if self._take().text == "-" else 1
            parts.append((sign, self._product()))
        return parts[0][1] if len(parts) == 1 and parts[0][0] > 0 else Sum(parts=tuple(parts))

    def _product(self) -> Node:
        return self._chain(("*", "/"), self._crossing)

    def _crossing(self) -> Node:
        return self._chain((":",), self._power)

    def _chain(self, signs: tuple[str, ...], part: Callable[[], Node]) -> Node:
        parts = [("", part())]
        while self._sees(*signs):
            sign = self._take().text
            parts.append((sign, part()))
        return parts[0][1] if len(parts) == 1 else Chain(parts=tuple(parts))

    def _power(self) -> Node:
        base = self._atom()
        if not self._sees("**", "^"):
            return base
        self._take()
        negative = self._sees("-") and bool(self._take())
        exponent = self._deeper(self._power)
        return Power(base=base, exponent=Sum(parts=((-1, exponent),)) if negative else exponent)

    def _atom(self) -> Node:
        token = self._next
        if token.kind == "number":
            return Number(text=self._take().text)
        if token.kind == "quoted":
            return Name(column=str(unquoted(self._take().text)))
        if token.kind == "name":
            return self._name_or_call()
        if self._sees("("):
            self._take()
            node = self._deeper(self._sum)
            self._expect(")")
            return node
        raise self._unexpected()

    def _name_or_call(self) -> Node:
        token = self._take()
        if not self._sees("("):
            return Name(column=token.text)
        if token.text not in FUNCTIONS:
            raise _refusal(self.text, token.place, f"the function '{_short(token.text)}'")
        self._take()
        arguments: list[Node] = []
        named: list[tuple[str, Node]] = []
        while True:
            word = self._keyword()
            if word is not None:
                named.append((word, self._literal()))
            elif named:
                raise self._unexpected(" after a named argument")
            else:
                arguments.append(self._argument())
            if not self._sees(","):
                break
            self._take()
        self._expect(")")
        return checked(Call(function=token.text, arguments=tuple(arguments), named=tuple(named)))

    def _keyword(self) -> str | None:
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else self._next
        if self._next.kind != "name" or following.text != "=" or following.kind != "sign":
            return None
        word = self._take().text
        self._take()
        return word

    def _argument(self) -> Node:
        return self._literal() if self._next.kind == "text" or self._sees("[") else self._deeper(self._sum)

    def _literal(self) -> Node:
        if self._next.kind == "text":
            return Text(text=self._take().text[1:-1])
        if not self._sees("["):
            negative = self._sees("-") and bool(self._take())
            number = self._number()
            return Sum(parts=((-1, number),)) if negative else number
        self._take()
        values = [self._signed()]
        while self._sees(","):
            self._take()
            values.append(self._signed())
        self._expect("]")
        return Numbers(values=tuple(values))

    def _signed(self) -> float:
        sign = -1.0 if self._sees("-") and self._take() else 1.0
        return sign * self._number().value

    def _number(self) -> Number:
        if self._next.kind != "number":
            raise self._unexpected(" where a number should be")
        return Number(text=self._take().text)


# ---------------------------------------------------------------- functions

#: Largest order of polynomials, and most functions of a spline; more are not told apart in double precision.
HIGHEST_ORDER, MOST_FUNCTIONS = 30, 200


class Signature(NamedTuple):
    """Arguments that a function takes after its first, by name, and whether the first must be a column."""

    words: tuple[str, ...] = ()
    column: bool = False


_ARITHMETIC = ("log", "log1p", "exp", "sqrt", "abs", "I")
SIGNATURES: Mapping[str, Signature] = {
    "C": Signature(column=True),
    "leg": Signature(("order", "low", "high")),
    "spl": Signature(("df", "low", "high")),
    "poly": Signature(("degree",)),
    "bs": Signature(("df", "degree", "knots")),
    "cr": Signature(("df", "knots")),
    "ns": Signature(("df", "knots")),
    "center": Signature(),
    "scale": Signature(),
    **{name: Signature() for name in _ARITHMETIC},
}
#: Bounds of whole numbers among the arguments: least and largest.
_BOUNDS = {
    ("leg", "order"): (1, HIGHEST_ORDER),
    ("poly", "degree"): (1, HIGHEST_ORDER),
    ("spl", "df"): (4, MOST_FUNCTIONS),
    ("bs", "df"): (1, MOST_FUNCTIONS),
    ("bs", "degree"): (0, 10),
    ("cr", "df"): (3, MOST_FUNCTIONS),
    ("ns", "df"): (2, MOST_FUNCTIONS),
}
_DEFAULTS = {"poly": {"degree": 1.0}, "bs": {"degree": 3.0}}


def options(call: Call) -> dict[str, float | tuple[float, ...]]:
    """Arguments of a call after the first, by name."""
    words = SIGNATURES[call.function].words
    given = dict(zip(words, call.arguments[1:], strict=False)) | dict(call.named)
    return {**_DEFAULTS.get(call.function, {}), **{word: _literal_value(node, call) for word, node in given.items()}}


def _literal_value(node: Node, call: Call) -> float | tuple[float, ...]:
    match node:
        case Number():
            return node.value
        case Numbers():
            return node.values
        case Sum(parts=((sign, Number() as number),)):
            return sign * number.value
    raise SpecError(f"'{_short(str(node))}' in '{_short(str(call))}' is not a number; arguments after the first are")


def checked(call: Call) -> Call:
    """The call, if its arguments are what its function takes.

    Raises
    ------
    SpecError
        If there are too many, too few, unknown or out of bounds.
    """
    signature, shown = SIGNATURES[call.function], _short(str(call))
    usage = f"write {call.function}({', '.join(['column', *signature.words])})"
    words = [word for word, _ in zip(signature.words, call.arguments[1:], strict=False)] + [w for w, _ in call.named]
    if len(call.arguments) - 1 > len(signature.words) or not call.arguments:
        raise SpecError(f"'{shown}' has {len(call.arguments)} arguments; {usage}")
    unknown = [word for word in words if word not in signature.words]
    if unknown or len(set(words)) < len(words):
        raise SpecError(
            f"'{shown}' names the argument '{_short((unknown or words)[-1])}' that it does not take, or twice; {usage}"
        )
    first = call.arguments[0]
    if isinstance(first, Text | Numbers) or (signature.column and not isinstance(first, Name)):
        what = "a column" if signature.column else "a column or arithmetic of columns"
        raise SpecError(f"the first argument of '{shown}' must be {what}; {usage}")
    _require_arithmetic(first, shown)
    if not next(columns_of(first), None):
        raise SpecError(f"'{shown}' names no column; {usage}")
    values = options(call)
    for word, value in values.items():
        _check_option(call.function, word, value, shown)
    _check_basis(call.function, values, shown, usage)
    return call


def _check_option(function: str, word: str, value: float | tuple[float, ...], shown: str) -> None:
    if word == "knots":
        if not isinstance(value, tuple) or not 1 <= len(value) <= MOST_FUNCTIONS or list(value) != sorted(set(value)):
            raise SpecError(f"the knots of '{shown}' must be a list of 1 to {MOST_FUNCTIONS} rising numbers, [1, 2.5]")
        return
    if isinstance(value, tuple):
        raise SpecError(f"'{word}' of '{shown}' must be a number")
    bounds = _BOUNDS.get((function, word))
    if bounds is not None and not (value == int(value) and bounds[0] <= value <= bounds[1]):
        raise SpecError(f"'{word}' of '{shown}' must be a whole number from {bounds[0]} to {bounds[1]}")


def _check_basis(function: str, values: Mapping[str, float | tuple[float, ...]], shown: str, usage: str) -> None:
    needed = {"leg": "order", "spl": "df"}.get(function)
    if needed and needed not in values:
        raise SpecError(f"'{shown}' does not say its '{needed}'; {usage}")
    if function in ("bs", "cr", "ns") and ("df" in values) == ("knots" in values):
        raise SpecError(f"'{shown}' needs either 'df' or 'knots', as in {function}(age, df=5)")
    if function == "bs" and "df" in values and values["df"] < values["degree"]:  # type: ignore[operator]
        raise SpecError(f"'df' of '{shown}' must be at least its degree, {values['degree']:g}")
    if ("low" in values) != ("high" in values) or ("low" in values and not values["low"] < values["high"]):  # type: ignore[operator]
        raise SpecError(f"the limits of '{shown}' must be two numbers that rise; {usage}")


def _require_arithmetic(node: Node, shown: str) -> None:
    """Refuse what has no value for a record: interactions, factors and bases inside arithmetic."""
    match node:
        case Sum(parts=parts):
            for _, part in parts:
                _require_arithmetic(part, shown)
        case Chain(parts=chain):
            if chain[1][0] == ":":
                raise SpecError(f"':' stands inside '{shown}'; write the product with *, or the interaction outside")
            for _, part in chain:
                _require_arithmetic(part, shown)
        case Power(base=base, exponent=exponent):
            _require_arithmetic(base, shown)
            _require_arithmetic(exponent, shown)
        case Call(function=function):
            if function not in (*_ARITHMETIC, "center", "scale"):
                raise SpecError(f"'{function}' stands inside '{shown}'; inside arithmetic are {', '.join(_ARITHMETIC)}")


def columns_of(node: Node) -> Iterator[str]:
    """Columns that a tree names, in order, with repetition."""
    match node:
        case Name(column=column):
            yield column
        case Sum(parts=parts):
            for _, part in parts:
                yield from columns_of(part)
        case Chain(parts=chain):
            for _, part in chain:
                yield from columns_of(part)
        case Power(base=base, exponent=exponent):
            yield from columns_of(base)
            yield from columns_of(exponent)
        case Call(arguments=arguments):
            for part in arguments[:1]:
                yield from columns_of(part)


# ---------------------------------------------------------------- terms

#: Most terms that a formula may expand to.
MOST_TERMS = 2000

#: Factors of a term; the empty one is the mean.
type Factors = tuple[Node, ...]
type Terms = dict[frozenset[str], Factors]


def expand(node: Node, intercept: bool = True) -> Terms:
    """Terms that a formula stands for, by rising number of factors, each as its factors in the order written.

    Parameters
    ----------
    node
        Tree of the formula.
    intercept
        Whether there is a mean unless ``0`` or ``- 1`` takes it out.

    Raises
    ------
    SpecError
        If an operator stands where it has no meaning, or there are too many terms.

    Examples
    --------
    >>> [":".join(map(str, t)) or "1" for t in expand(parse("sex * age - sex")).values()]
    ['1', 'age', 'sex:age']
    """
    terms: Terms = {frozenset(): ()} if intercept else {}
    for sign, part in _summands(node):
        if isinstance(part, Number):
            _mean(terms, sign, part)
            continue
        for key, factors in _terms(part).items():
            if sign > 0:
                terms.setdefault(key, factors)
            else:
                terms.pop(key, None)
    _bounded(terms)
    return dict(sorted(terms.items(), key=lambda item: len(item[1])))


def _summands(node: Node) -> Iterator[tuple[int, Node]]:
    """Parts of a sum; brackets around a part that is added mean nothing."""
    if not isinstance(node, Sum):
        yield 1, node
        return
    for sign, part in node.parts:
        if sign > 0 and isinstance(part, Sum):
            yield from _summands(part)
        else:
            yield sign, part


def _mean(terms: Terms, sign: int, number: Number) -> None:
    if number.whole not in (0, 1):
        raise SpecError(
            f"the number {number} stands alone in a formula, where only 1 (a mean) and 0 (none) have a meaning"
        )
    if (number.whole == 1) == (sign > 0):
        terms.setdefault(frozenset(), ())
    else:
        terms.pop(frozenset(), None)


def _terms(node: Node) -> Terms:
    match node:
        case Name() | Call():
            return {frozenset([str(node)]): (node,)}
        case Number():
            if node.whole == 1:
                return {frozenset(): ()}
            raise SpecError(f"the number {node} stands where a column should be; numbers belong inside I(…) or log(…)")
        case Sum():
            return _added(node)
        case Chain(parts=((_, first), *rest)):
            terms = _terms(first)
            for operator, part in rest:
                terms = _combined(operator, terms, _terms(part))
            return terms
        case Power():
            return _powered(node)
    raise SpecError(f"'{_short(str(node))}' stands where a column should be")


def _added(node: Sum) -> Terms:
    out: Terms = {}
    for sign, part in _summands(node):
        if isinstance(part, Number):
            raise SpecError(
                f"'{_short(str(node))}': 0, 1 and - 1 stand outside brackets that are multiplied, crossed or taken out"
            )
        for key, factors in _terms(part).items():
            if sign > 0:
                out.setdefault(key, factors)
            else:
                out.pop(key, None)
    return _bounded(out)


def _combined(sign: str, left: Terms, right: Terms) -> Terms:
    if sign == "/":
        # a / b is b within every combination of a.
        names = tuple(dict.fromkeys(factor for factors in left.values() for factor in factors))
        return _bounded(left | _crossed({frozenset(map(str, names)): names}, right))
    crossed = _crossed(left, right)
    return crossed if sign == ":" else _bounded(left | {k: v for k, v in right.items() if k not in left} | crossed)


def _crossed(left: Terms, right: Terms) -> Terms:
    if len(left) * len(right) > 100 * MOST_TERMS:
        raise _too_many(MOST_TERMS)
    out: Terms = {}
    for a, factors in left.items():
        for b, others in right.items():
            if a | b not in out:
                out[a | b] = (*factors, *(f for f in others if str(f) not in a))
                _bounded(out)
    return out


def _powered(node: Power) -> Terms:
    exponent = node.exponent.whole if isinstance(node.exponent, Number) else None
    if not exponent:
        raise SpecError(
            f"the power in '{_short(str(node))}' must be a whole number from 1; arithmetic stands inside I(…)"
        )
    base = _terms(node.base)
    out = base
    for _ in range(exponent - 1):
        grown = out | {k: v for k, v in _crossed(out, base).items() if k not in out}
        if len(grown) == len(out):
            break
        out = _bounded(grown)
    return out


def _bounded(terms: Terms) -> Terms:
    if len(terms) > MOST_TERMS:
        raise _too_many(len(terms))
    return terms


def _too_many(count: int) -> SpecError:
    return SpecError(
        f"the formula stands for {count} terms or more; the most is {MOST_TERMS}; write out those that are meant"
    )

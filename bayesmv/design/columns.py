"""Columns of fixed effects: terms of a formula become sparse blocks of the design.

What a formula may hold is decided before, by :mod:`bayesmv.model.grammar`; here its tree meets the data. A factor
drops its first level where the columns before span it, as in R (and by the rule of Patsy and formulaic); only the
combinations of levels that have records become columns, so that the cost is linear in the records.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.design.written import as_covariate, as_labels
from bayesmv.errors import DataError, SpecError, listing
from bayesmv.model.basis import Legendre, Part, Spline, is_numeric
from bayesmv.model.grammar import Call, Chain, Factors, Name, Node, Number, Power, Sum, columns_of, number, options
from bayesmv.relationship.labels import as_text


@dataclass(frozen=True, kw_only=True, eq=False)
class Categories:
    """Factor of the data: the level of every row.

    Parameters
    ----------
    label
        Name, ``sex`` or ``C(year)``.
    codes
        Level of every row (n,).
    levels
        Levels with records, the first is the reference.
    """

    label: str
    codes: IntArray
    levels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariates:
    """Functions of covariates, (n, k), with their labels."""

    label: str
    labels: tuple[str, ...]
    functions: Array

    @property
    def k(self) -> int:
        """Number of functions."""
        return int(self.functions.shape[1])


type Evaluated = Categories | Covariates
#: A factor of a term, and whether its first level is dropped.
type Scoped = tuple[str, bool]


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Columns of one term.

    Parameters
    ----------
    names
        Names of the columns.
    columns
        The columns (n, k).
    categorical
        Whether they are of levels of a factor.
    """

    names: tuple[str, ...]
    columns: sparse.csc_array
    categorical: bool


class Columns:
    """Factors and blocks of one table, each made once."""

    def __init__(self, data: pd.DataFrame, notes: list[str]) -> None:
        self._data = data
        self._notes = notes
        self._factors: dict[str, Evaluated] = {}
        self._blocks: dict[tuple[Scoped, ...], Block] = {}

    def blocks(self, terms: Iterable[Factors]) -> Iterator[tuple[tuple[Scoped, ...], Block]]:
        """Blocks of the terms of one trait, each with what identifies it, in order."""
        spanned: set[frozenset[Scoped]] = set()
        for factors in terms:
            for scoped in self._scopes(factors, spanned):
                if scoped not in self._blocks:
                    self._blocks[scoped] = self._block(scoped)
                yield scoped, self._blocks[scoped]

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """Factors whose first level some block drops, with that level."""
        dropped = dict.fromkeys(label for scoped in self._blocks for label, reduced in scoped if reduced)
        factors = [self._factors[label] for label in dropped]
        return tuple((f.label, f.levels[0]) for f in factors if isinstance(f, Categories))

    def _scopes(self, factors: Factors, spanned: set[frozenset[Scoped]]) -> list[tuple[Scoped, ...]]:
        """Blocks that a term adds to what is spanned: products of whole factors and of those without first level."""
        evaluated = [(str(node), self._evaluated(node)) for node in factors]
        choices = [
            (((name, True),), ()) if isinstance(factor, Categories) else (((name, False),),)
            for name, factor in evaluated
        ]
        products = [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*choices)]
        added = [scoped for scoped in products if frozenset(scoped) not in spanned]
        spanned.update(map(frozenset, added))
        return _joined(added)

    def _evaluated(self, node: Node) -> Evaluated:
        name = str(node)
        if name not in self._factors:
            self._factors[name] = evaluate(node, self._data, self._notes)
        return self._factors[name]

    def _block(self, scoped: tuple[Scoped, ...]) -> Block:
        """Product of the factors: the first varies fastest among the columns."""
        n = len(self._data)
        factors = [(self._factors[name], reduced) for name, reduced in scoped]
        sizes = [len(f.levels) - reduced if isinstance(f, Categories) else f.k for f, reduced in factors]
        if prod(sizes) >= 2**62:
            raise SpecError(f"the interaction '{':'.join(name for name, _ in scoped)}' has {prod(sizes):.0e} columns")
        strides = [prod(sizes[:i]) for i in range(len(sizes))]
        key, there = np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
        for (factor, reduced), stride in zip(factors, strides, strict=True):
            if isinstance(factor, Categories):
                key += stride * (factor.codes - reduced)
                there &= factor.codes >= int(reduced)
        rows = np.flatnonzero(there)
        keys, parts = [], []
        several = [range(f.k) if isinstance(f, Covariates) else range(1) for f, _ in factors]
        for chosen in itertools.product(*several):
            offset, values = 0, np.ones(len(rows))
            for (factor, _), stride, k in zip(factors, strides, chosen, strict=True):
                if isinstance(factor, Covariates):
                    offset, values = offset + stride * k, values * factor.functions[rows, k]
            keys.append(key[rows] + offset)
            parts.append(values)
        found, column = np.unique(np.concatenate(keys), return_inverse=True)
        entries = np.concatenate(parts), (np.tile(rows, len(keys)), column.reshape(-1))
        categorical = any(isinstance(f, Categories) for f, _ in factors)
        self._say_empty(scoped, prod(sizes) - len(found))
        return Block(
            names=tuple(_column_names(factors, sizes, strides, found)),
            columns=sparse.csc_array(sparse.coo_array(entries, shape=(n, len(found)))),
            categorical=categorical,
        )

    def _say_empty(self, scoped: tuple[Scoped, ...], empty: int) -> None:
        if empty > 0:
            what = ":".join(self._factors[name].label for name, _ in scoped)
            self._notes.append(f"{empty} combinations of '{what}' without records were left out")


def _joined(products: Sequence[tuple[Scoped, ...]]) -> list[tuple[Scoped, ...]]:
    """Fewest products with the same span: ``x + x:(factor without first level)`` is ``x:factor``."""
    out: list[tuple[Scoped, ...]] = []
    for scoped in sorted(products, key=len):
        smaller = next((o for o in out if len(o) == len(scoped) - 1 and _reduced_rest(scoped, o)), None)
        if smaller is None:
            out.append(scoped)
            continue
        out.remove(smaller)
        whole = _reduced_rest(scoped, smaller)
        out = _joined([*out, tuple((name, reduced and name != whole) for name, reduced in scoped)])
    return out


def _reduced_rest(scoped: tuple[Scoped, ...], smaller: tuple[Scoped, ...]) -> str | None:
    rest = [factor for factor in scoped if factor not in smaller]
    return rest[0][0] if len(rest) == 1 and rest[0][1] else None


def _column_names(
    factors: Sequence[tuple[Evaluated, bool]], sizes: Sequence[int], strides: Sequence[int], found: IntArray
) -> list[str]:
    if not factors:
        return ["Intercept"]
    parts = []
    for (factor, reduced), size, stride in zip(factors, sizes, strides, strict=True):
        if isinstance(factor, Categories):
            mark = "T." if reduced else ""
            labels = [f"{factor.label}[{mark}{level}]" for level in factor.levels[int(reduced) :]]
        else:
            labels = list(factor.labels)
        parts.append([labels[i] for i in (found // stride % size).tolist()])
    return [":".join(names) for names in zip(*parts, strict=True)]


# ---------------------------------------------------------------- factors and covariates


def evaluate(node: Node, data: pd.DataFrame, notes: list[str]) -> Evaluated:
    """Factor or covariates that a node of a formula stands for.

    Raises
    ------
    DataError
        If a column is not numeric where numbers are needed, or a function cannot be computed.
    """
    if isinstance(node, Name):
        column = as_covariate(data[node.column])
        if not is_numeric(column):
            return categories(column, node.column, notes)
        return Covariates(label=node.column, labels=(node.column,), functions=_numbers(column)[:, None])
    assert isinstance(node, Call)
    if node.function == "C":
        return categories(as_labels(data[next(columns_of(node))]), str(node), notes)
    with np.errstate(all="ignore"):
        if node.function in _BASES:
            names, values = _basis(node, data)
            labels = tuple(f"{node}[{name}]" for name in names)
            return Covariates(label=str(node), labels=labels, functions=values)
        values = np.broadcast_to(_arithmetic(node, data), len(data))
    return Covariates(label=str(node), labels=(str(node),), functions=np.array(values, dtype=float)[:, None])


def _numbers(column: pd.Series[Any]) -> Array:
    if pd.api.types.is_complex_dtype(column.dtype):
        raise DataError(f"the covariate '{column.name}' holds complex numbers")
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))


def categories(column: pd.Series[Any], label: str, notes: list[str]) -> Categories:
    """Factor of a column: levels in the order of a categorical, of numbers, or of text."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype) and label == column.name:
        raise DataError(
            f"the fixed effect '{label}' holds dates; turn it into a number, such as days after 1 January, "
            f"or write C({label}) for a factor"
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = np.asarray(column.cat.codes, dtype=np.int64), list(column.cat.categories)
        used = np.bincount(codes, minlength=len(values)) > 0
        empty = [as_text(v) for v, there in zip(values, used, strict=True) if not there]
        if empty:
            notes.append(f"{len(empty)} levels of '{column.name}' without records were left out: {listing(empty)}")
        values, codes = [v for v, there in zip(values, used, strict=True) if there], (np.cumsum(used) - 1)[codes]
    else:
        found, uniques = pd.factorize(column)
        values = list(uniques)
        order = _order(values)
        place = np.argsort(np.asarray(order, dtype=np.int64))
        codes, values = place[found], [values[i] for i in order]
    texts = [as_text(v) for v in values]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    joined = np.array([distinct[text] for text in texts], dtype=np.int64)
    return Categories(label=label, codes=joined[codes], levels=tuple(distinct))


def _order(values: Sequence[Any]) -> list[int]:
    """Order of levels: numbers, also those written as text, by size; others as they compare, or by their text."""
    texts = [str(v) for v in values]
    try:
        sizes = [number(text) for text in texts]
        return sorted(range(len(values)), key=lambda i: (sizes[i], texts[i]))
    except ValueError:
        pass
    try:
        return sorted(range(len(values)), key=lambda i: values[i])
    except TypeError:
        return sorted(range(len(values)), key=lambda i: texts[i])


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "log": np.log,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "I": lambda x: x,
    "center": lambda x: x - np.mean(x),
    "scale": lambda x: (x - np.mean(x)) / np.std(x, ddof=1),
}


def _arithmetic(node: Node, data: pd.DataFrame) -> Any:
    """Value of arithmetic of columns and numbers, (n,) or a number."""
    match node:
        case Number():
            return np.float64(node.value)
        case Name(column=name):
            column = as_covariate(data[name])
            if not is_numeric(column):
                raise DataError(f"the column '{name}' is not numeric; arithmetic in a formula needs numbers")
            return _numbers(column)
        case Sum(parts=parts):
            return sum(sign * _arithmetic(part, data) for sign, part in parts)
        case Chain(parts=chain):
            out = _arithmetic(chain[0][1], data)
            for sign, part in chain[1:]:
                value = _arithmetic(part, data)
                out = out * value if sign == "*" else np.divide(out, value)
            return out
        case Power(base=base, exponent=exponent):
            return np.power(_arithmetic(base, data), _arithmetic(exponent, data))
        case Call(function=function, arguments=(first, *_)):
            return _FUNCTIONS[function](np.asarray(_arithmetic(first, data), dtype=float))
    raise SpecError(f"'{node}' stands inside arithmetic")


_BASES = ("leg", "spl", "poly", "bs", "cr", "ns")


def _basis(call: Call, data: pd.DataFrame) -> tuple[list[str], Array]:
    """Names and values (n, k) of the functions of a call; the mean stands for those that add a constant."""
    x = np.asarray(np.broadcast_to(_arithmetic(call.arguments[0], data), len(data)), dtype=float)
    if not np.isfinite(x).all():
        raise DataError(f"the covariate of '{call}' has values that are not finite")
    given = options(call)
    if call.function in ("leg", "spl"):
        return _own(call, x, given)
    if np.ptp(x) == 0:
        raise DataError(f"the covariate of '{call}' is {x[0]:g} in all records; it needs to vary")
    try:
        return _splines(call.function, x, given)
    except ValueError as error:
        raise DataError(f"'{call}' cannot be computed: {str(error).strip().splitlines()[0]}") from None


def _own(call: Call, x: Array, given: Mapping[str, Any]) -> tuple[list[str], Array]:
    limits = {word: given[word] for word in ("low", "high") if word in given}
    label = str(call.arguments[0])
    part: Part = (
        Legendre(column=label, order=int(given["order"]), **limits)
        if call.function == "leg"
        else Spline(column=label, order=int(given["df"]), **limits)
    )
    values = part.resolve(pd.DataFrame({label: x})).evaluate(x)[:, 1:]
    first = 1 if call.function == "leg" else 2
    return [str(i) for i in range(first, first + values.shape[1])], values


def _splines(function: str, x: Array, given: Mapping[str, Any]) -> tuple[list[str], Array]:
    if function == "poly":
        degree = int(given["degree"])
        if len(np.unique(x)) <= degree:
            raise ValueError(f"{len(np.unique(x))} different values cannot carry degree {degree}")
        return [str(i + 1) for i in range(degree)], _polynomials(x, degree)
    # Formulaic's own functions, called with numbers alone; a tenth of a second to load.
    from formulaic.transforms.basis_spline import basis_spline
    from formulaic.transforms.cubic_spline import natural_cubic_spline

    knots = list(given["knots"]) if "knots" in given else None
    df = int(given["df"]) if "df" in given else None
    if function == "bs":
        made = basis_spline(x, df=df, knots=knots, degree=int(given["degree"]), _state={})
        values = np.column_stack([np.asarray(made[name], dtype=float) for name in made])
        return [str(i + 1) for i in range(values.shape[1])], values
    # The functions of a natural spline add up to 1: the mean stands for the first.
    more = None if df is None else df + (function == "ns")
    made = natural_cubic_spline(x, df=more, knots=knots, _state={})
    values = np.column_stack([np.asarray(made[name], dtype=float) for name in made])[:, 1:]
    first = 1 if function == "ns" else 2
    return [str(i + first) for i in range(values.shape[1])], values


def _polynomials(x: Array, degree: int) -> Array:
    """Polynomials of degree 1 to k orthonormal over the records, (n, k), as R's ``poly``."""
    z = (x - x.mean()) / np.ptp(x)
    out = [np.full(len(x), 1.0 / np.sqrt(len(x)))]
    for _ in range(degree):
        new = z * out[-1]
        for _ in range(2):  # once more, for the rounding of the first time
            for old in out:
                new = new - old * (old @ new)
        out.append(new / np.sqrt(new @ new))
    return np.column_stack(out[1:])


def check_finite(block: Block, term: object) -> None:
    """Refuse a block with values that are not finite.

    Raises
    ------
    DataError
        Naming the columns.
    """
    data: npt.NDArray[np.float64] = block.columns.data
    if not np.isfinite(data).all():
        places = np.flatnonzero(np.diff(np.concatenate([[0], np.cumsum(~np.isfinite(data))])[block.columns.indptr]) > 0)
        bad = [block.names[i] for i in places]
        raise DataError(f"the fixed effect {listing(bad)} in '{term}' has values that are not finite")

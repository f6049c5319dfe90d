"""Columns of fixed effects: terms of a formula become sparse blocks of the design.

What a formula may hold is decided before, by :mod:`bayesmv.model.grammar`; here its tree meets the data. A factor
drops its first level where the columns before span it, as in R (and by the rule of Patsy and formulaic); only the
combinations of levels that have records become columns, so that the cost is linear in the records.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bayesmv.arrays import Array, BoolArray, IntArray
from bayesmv.design.written import as_covariate, as_labels
from bayesmv.errors import DataError, SpecError, listing, require_known
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
    keys
        Combination of levels and functions that each column is of, increasing, (k,).
    """

    names: tuple[str, ...]
    columns: sparse.csc_array
    categorical: bool
    keys: IntArray


class Columns:
    """Factors and blocks of one table, each made once."""

    def __init__(self, data: pd.DataFrame, notes: list[str]) -> None:
        self._data = data
        self._notes = notes
        self._nodes: dict[str, Node] = {}
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
            self._nodes[name] = node
            self._factors[name] = evaluate(node, self._data, self._notes)
        return self._factors[name]

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Levels of the factors met so far, by name of the column."""
        return {
            column: factor.levels
            for name, factor in self._factors.items()
            if isinstance(factor, Categories)
            for column in columns_of(self._nodes[name])
        }

    def at(self, scoped: tuple[Scoped, ...], rows: pd.DataFrame) -> tuple[sparse.csr_array, BoolArray]:
        """Columns of a block at other rows, (k, columns), and which of these have a combination without a column.

        Raises
        ------
        DataError
            If a level is not among those of the data.
        """
        block = self._blocks[scoped]
        factors = [(self._elsewhere(name, rows), reduced) for name, reduced in scoped]
        row, key, values = _entries(factors, len(rows))
        place = np.minimum(np.searchsorted(block.keys, key), max(len(block.keys) - 1, 0))
        there = block.keys[place] == key if len(block.keys) else np.zeros(len(key), dtype=np.bool_)
        lost = np.zeros(len(rows), dtype=np.bool_)
        lost[row[~there & (values != 0.0)]] = True
        entries = values[there], (row[there], place[there])
        return sparse.csr_array(sparse.coo_array(entries, shape=(len(rows), len(block.keys)))), lost

    def _elsewhere(self, name: str, rows: pd.DataFrame) -> Evaluated:
        factor = self._factors[name]
        if isinstance(factor, Covariates):
            return evaluate(self._nodes[name], rows, [], reference=self._data)
        (column,) = columns_of(self._nodes[name])
        asked = [as_text(level) for level in rows[column]]
        require_known(asked, factor.levels, f"'{column}' has no level {{}} among the records; levels", DataError)
        place = {level: i for i, level in enumerate(factor.levels)}
        return replace(factor, codes=np.array([place[level] for level in asked], dtype=np.int64))

    def _block(self, scoped: tuple[Scoped, ...]) -> Block:
        """Product of the factors: the first varies fastest among the columns."""
        factors = [(self._factors[name], reduced) for name, reduced in scoped]
        row, key, values = _entries(factors, len(self._data))
        found, column = np.unique(key, return_inverse=True)
        entries = values, (row, column.reshape(-1))
        self._say_empty(scoped, prod(_sizes(factors)) - len(found))
        return Block(
            names=tuple(_column_names(factors, found)),
            columns=sparse.csc_array(sparse.coo_array(entries, shape=(len(self._data), len(found)))),
            categorical=any(isinstance(f, Categories) for f, _ in factors),
            keys=found,
        )

    def _say_empty(self, scoped: tuple[Scoped, ...], empty: int) -> None:
        if empty > 0:
            what = ":".join(self._factors[name].label for name, _ in scoped)
            self._notes.append(f"{empty} combinations of '{what}' without records were left out")


def _sizes(factors: Sequence[tuple[Evaluated, bool]]) -> list[int]:
    """Number of levels, or of functions, that each factor brings to a block."""
    return [len(f.levels) - reduced if isinstance(f, Categories) else f.k for f, reduced in factors]


def _strides(factors: Sequence[tuple[Evaluated, bool]]) -> list[int]:
    """Steps of the key of a column from one level or function of each factor to the next; the first is fastest."""
    sizes = _sizes(factors)
    if prod(sizes) >= 2**62:
        raise SpecError(f"the interaction '{':'.join(f.label for f, _ in factors)}' has {prod(sizes):.0e} columns")
    return [prod(sizes[:i]) for i in range(len(sizes))]


def _entries(factors: Sequence[tuple[Evaluated, bool]], n: int) -> tuple[IntArray, IntArray, Array]:
    """Row, key of the column, and value of every entry of the product of some factors over n rows."""
    strides = _strides(factors)
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
    return np.tile(rows, len(keys)), np.concatenate(keys), np.concatenate(parts)


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


def _column_names(factors: Sequence[tuple[Evaluated, bool]], found: IntArray) -> list[str]:
    if not factors:
        return ["Intercept"]
    parts = []
    for (factor, reduced), size, stride in zip(factors, _sizes(factors), _strides(factors), strict=True):
        if isinstance(factor, Categories):
            mark = "T." if reduced else ""
            labels = [f"{factor.label}[{mark}{level}]" for level in factor.levels[int(reduced) :]]
        else:
            labels = list(factor.labels)
        parts.append([labels[i] for i in (found // stride % size).tolist()])
    return [":".join(names) for names in zip(*parts, strict=True)]


# ---------------------------------------------------------------- factors and covariates


def evaluate(node: Node, data: pd.DataFrame, notes: list[str], reference: pd.DataFrame | None = None) -> Evaluated:
    """Factor or covariates that a node of a formula stands for.

    Parameters
    ----------
    node
        The node.
    data
        Rows to evaluate it at.
    notes
        To which it is added what was left out.
    reference
        Rows that means, knots and polynomials are taken from, if not `data` itself.

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
    reference = data if reference is None else reference
    with np.errstate(all="ignore"):
        if node.function in _BASES:
            names, values = _basis(node, data, reference)
            labels = tuple(f"{node}[{name}]" for name in names)
            return Covariates(label=str(node), labels=labels, functions=values)
        values = np.broadcast_to(_arithmetic(node, data, reference), len(data))
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


#: Functions of values, and of those of the reference, whose mean and spread some take.
_FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "log": lambda x, _: np.log(x),
    "log1p": lambda x, _: np.log1p(x),
    "exp": lambda x, _: np.exp(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "abs": lambda x, _: np.abs(x),
    "I": lambda x, _: x,
    "center": lambda x, reference: x - np.mean(reference),
    "scale": lambda x, reference: (x - np.mean(reference)) / np.std(reference, ddof=1),
}


def _arithmetic(node: Node, data: pd.DataFrame, reference: pd.DataFrame) -> Any:
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
            return sum(sign * _arithmetic(part, data, reference) for sign, part in parts)
        case Chain(parts=chain):
            out = _arithmetic(chain[0][1], data, reference)
            for sign, part in chain[1:]:
                value = _arithmetic(part, data, reference)
                out = out * value if sign == "*" else np.divide(out, value)
            return out
        case Power(base=base, exponent=exponent):
            return np.power(_arithmetic(base, data, reference), _arithmetic(exponent, data, reference))
        case Call(function=function, arguments=(first, *_)):
            there = np.asarray(_arithmetic(first, reference, reference), dtype=float)
            x = there if data is reference else np.asarray(_arithmetic(first, data, reference), dtype=float)
            return _FUNCTIONS[function](x, there)
    raise SpecError(f"'{node}' stands inside arithmetic")


_BASES = ("leg", "spl", "poly", "bs", "cr", "ns")


def _basis(call: Call, data: pd.DataFrame, reference: pd.DataFrame) -> tuple[list[str], Array]:
    """Names and values (n, k) of the functions of a call; the mean stands for those that add a constant."""
    there, x = (
        np.asarray(np.broadcast_to(_arithmetic(call.arguments[0], rows, reference), len(rows)), dtype=float)
        for rows in (reference, data)
    )
    if not (np.isfinite(x).all() and np.isfinite(there).all()):
        raise DataError(f"the covariate of '{call}' has values that are not finite")
    given = options(call)
    if call.function in ("leg", "spl"):
        return _own(call, x, there, given)
    if np.ptp(there) == 0:
        raise DataError(f"the covariate of '{call}' is {there[0]:g} in all records; it needs to vary")
    try:
        return _splines(call.function, x, there, given)
    except ValueError as error:
        raise DataError(f"'{call}' cannot be computed: {str(error).strip().splitlines()[0]}") from None


def _own(call: Call, x: Array, reference: Array, given: Mapping[str, Any]) -> tuple[list[str], Array]:
    limits = {word: given[word] for word in ("low", "high") if word in given}
    label = str(call.arguments[0])
    part: Part = (
        Legendre(column=label, order=int(given["order"]), **limits)
        if call.function == "leg"
        else Spline(column=label, order=int(given["df"]), **limits)
    )
    values = part.resolve(pd.DataFrame({label: reference})).evaluate(x)[:, 1:]
    first = 1 if call.function == "leg" else 2
    return [str(i) for i in range(first, first + values.shape[1])], values


def _splines(function: str, x: Array, reference: Array, given: Mapping[str, Any]) -> tuple[list[str], Array]:
    if function == "poly":
        degree = int(given["degree"])
        if len(np.unique(reference)) <= degree:
            raise ValueError(f"{len(np.unique(reference))} different values cannot carry degree {degree}")
        return [str(i + 1) for i in range(degree)], _polynomials(x, reference, degree)
    # Formulaic's own functions, called with numbers alone; a tenth of a second to load.
    from formulaic.transforms.basis_spline import basis_spline
    from formulaic.transforms.cubic_spline import natural_cubic_spline

    knots = list(given["knots"]) if "knots" in given else None
    df = int(given["df"]) if "df" in given else None
    # They keep the knots of the first values that they see.
    state: dict[str, Any] = {}
    if function == "bs":
        made = [
            basis_spline(values, df=df, knots=knots, degree=int(given["degree"]), _state=state)
            for values in (reference, x)
        ][1]
        values = np.column_stack([np.asarray(made[name], dtype=float) for name in made])
        return [str(i + 1) for i in range(values.shape[1])], values
    # The functions of a natural spline add up to 1: the mean stands for the first.
    more = None if df is None else df + (function == "ns")
    made = [natural_cubic_spline(values, df=more, knots=knots, _state=state) for values in (reference, x)][1]
    values = np.column_stack([np.asarray(made[name], dtype=float) for name in made])[:, 1:]
    first = 1 if function == "ns" else 2
    return [str(i + first) for i in range(values.shape[1])], values


def _polynomials(x: Array, reference: Array, degree: int) -> Array:
    """Polynomials of degree 1 to k orthonormal over the reference, (n, k), as R's ``poly``."""
    middle, width = reference.mean(), np.ptp(reference)
    z, there = (x - middle) / width, (reference - middle) / width
    root = np.sqrt(len(there))
    out, known = [np.full(len(z), 1.0 / root)], [np.full(len(there), 1.0 / root)]
    for _ in range(degree):
        new, old = z * out[-1], there * known[-1]
        for _ in range(2):  # once more, for the rounding of the first time
            for mine, other in zip(out, known, strict=True):
                share = other @ old
                new, old = new - mine * share, old - other * share
        size = np.sqrt(old @ old)
        out.append(new / size)
        known.append(old / size)
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

"""Table of covariance structures, for the tests that put each through the same: a new structure adds one row."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayesmv.covariance import CovarianceStructure, checked_matrix, structure

TIMES = (0.0, 1.5, 4.0, 4.9, 9.0, 11.0)


class Row(NamedTuple):
    """A structure of m effects: how it is written, the simplest first; parameters and reported positions of that."""

    texts: Callable[[int], list[str]]
    n_parameters: Callable[[int], int]
    n_support: Callable[[int], int] = lambda m: m * (m + 1) // 2


def timed(word: str) -> Callable[[int], list[str]]:
    """Write a structure with the times of its effects."""
    return lambda m: [f"{word}({', '.join(str(t) for t in TIMES[:m])})"]


def ordered(word: str, *others: int) -> Callable[[int], list[str]]:
    """Write a structure of order 1, and of the orders m + others where that makes a difference."""
    return lambda m: [f"{word}(1)", *(f"{word}({m + k})" for k in others if m > 2)]


TABLE = {
    "id": Row(lambda m: ["id"], lambda m: 0, lambda m: m),
    "idv": Row(lambda m: ["idv"], lambda m: 1, lambda m: m),
    "diag": Row(lambda m: ["diag"], lambda m: m, lambda m: m),
    "us": Row(lambda m: ["us"], lambda m: m * (m + 1) // 2),
    "corv": Row(lambda m: ["corv"], lambda m: 1 + (m > 1)),
    "corh": Row(lambda m: ["corh"], lambda m: m + (m > 1)),
    "corgh": Row(lambda m: ["corgh"], lambda m: m * (m + 1) // 2),
    "ar1": Row(lambda m: ["ar1"], lambda m: 1 + (m > 1)),
    "ar1h": Row(lambda m: ["ar1h"], lambda m: m + (m > 1)),
    "toep": Row(lambda m: ["toep"], lambda m: m),
    "toeph": Row(lambda m: ["toeph"], lambda m: 2 * m - 1),
    "ante": Row(ordered("ante", -1), lambda m: 2 * m - 1),
    "exp": Row(timed("exp"), lambda m: 1 + (m > 1)),
    "exph": Row(timed("exph"), lambda m: m + (m > 1)),
    "fa": Row(ordered("fa", -1), lambda m: 2 * m),
    "rr": Row(ordered("rr", -1, 0), lambda m: m),
    "fixed": Row(lambda m: ["fixed(G)"], lambda m: 0),
    "scaled": Row(lambda m: ["scaled(G)"], lambda m: 1),
}


def matrices(m: int) -> dict:
    """A given matrix G (m, m), of full rank."""
    B = np.random.default_rng(m).normal(size=(m, m))
    return {"G": checked_matrix(B @ B.T / m + 0.3 * np.eye(m), "G")}


def written(m: int) -> list[str]:
    """All structures of m effects, each as often as it has forms."""
    return [text for row in TABLE.values() for text in row.texts(m)]


def build(text: str, m: int) -> CovarianceStructure:
    """Build a structure, with the matrix G where it needs one."""
    return structure(text, m, matrices(m))


def in_formula(text: str) -> str:
    """Write the structure with the word trait, as in a formula."""
    word, bracket, rest = text.partition("(")
    return f"{word}(trait, {rest}" if bracket else f"{word}(trait)"

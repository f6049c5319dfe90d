"""Every covariance structure as written in a model, for the tests that put each through the same."""

import numpy as np

from bayesmv.covariance import CovarianceStructure, checked_matrix, structure

TIMES = (0.0, 1.5, 4.0, 4.9, 9.0, 11.0)


def matrices(m: int) -> dict:
    """A given matrix G (m, m), of full rank."""
    B = np.random.default_rng(m).normal(size=(m, m))
    return {"G": checked_matrix(B @ B.T / m + 0.3 * np.eye(m), "G")}


def written(m: int) -> list[str]:
    """All structures of m effects."""
    times = ", ".join(str(t) for t in TIMES[:m])
    plain = ["id", "idv", "diag", "us", "corv", "corh", "corgh", "ar1", "ar1h", "toep", "toeph", "ante(1)"]
    out = [*plain, f"exp({times})", f"exph({times})", "fa(1)", "rr(1)", "fixed(G)", "scaled(G)"]
    return [*out, f"fa({m - 1})", f"rr({m - 1})", f"rr({m})", f"ante({m - 1})"] if m > 2 else out


def build(text: str, m: int) -> CovarianceStructure:
    """Build a structure, with the matrix G where it needs one."""
    return structure(text, m, matrices(m))


def in_formula(text: str) -> str:
    """Write the structure with the word trait, as in a formula."""
    word, bracket, rest = text.partition("(")
    return f"{word}(trait, {rest}" if bracket else f"{word}(trait)"

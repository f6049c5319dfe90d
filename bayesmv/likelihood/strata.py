"""The strata engine: balanced designs reduce to one matrix of squares and products per stratum.

With a basis of error contrasts (orthogonal to X), every random term contributes Σ_k ⊗ H_k, H_k = Z_kK_kZ_k'. Where
the H_k commute they have common eigenvectors; the contrasts with equal eigenvalues (c_1s … c_Ks) form stratum s and

    -2l = const + Σ_s [ d_s log|V_s| + tr(V_s⁻¹ S_s) ],   V_s = R + Σ_k c_ks Σ_k

S_s the (t × t) squares and products of stratum s on d_s degrees of freedom. A complete block trial has three or four
strata.

Source: Nelder (1965), Proc. R. Soc. A 283:147-178; Houtman & Speed (1983), Ann. Statist. 11:1069-1085.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.random import TermDesign
from bayesmv.likelihood.protocol import CALL, MULTIPLICATION, Offer, declined
from bayesmv.numerics.symmetric import symmetric_part, unit_components

#: Most effects per trait for which the (dense) joint diagonalisation is tried: it is cheap, or likely to succeed.
LARGEST = 1500
#: Below this many it is tried on any design.
SMALL = 200
#: Most fixed effects that are projected out of dense matrices.
MOST_FIXED = 500
_TOLERANCE = 1e-9


class Strata(NamedTuple):
    """The strata of a balanced design.

    Parameters
    ----------
    coefficients
        Eigenvalue c_ks of each random term in each stratum, (strata, terms).
    freedom
        Degrees of freedom d_s, (strata,).
    products
        Squares and products S_s of the scaled records, (strata, t, t).
    log_X
        log|X'X| over the traits.
    """

    coefficients: Array
    freedom: Array
    products: Array
    log_X: float


def untried(design: Design) -> str | None:
    """Return why strata are not looked for in a design; None if only looking can tell."""
    q = sum(len(term.levels) for term in design.terms)
    if q == 0:
        return "there are no random terms"
    if not design.residual.plain:
        return "residuals have groups or weights"
    if not design.complete:
        return f"{(~design.observed).sum()} records are missing"
    if not _same_for_all_traits(design):
        return "the traits differ in their fixed effects or random terms"
    if design.fixed.X.shape[1] > MOST_FIXED:
        return f"{design.fixed.X.shape[1]} fixed effects are more than {MOST_FIXED}"
    if q > LARGEST:
        return f"{q} levels are more than {LARGEST}"
    if q > SMALL and not all(_regular(term) for term in design.terms):
        return "levels have different numbers of units"
    return None


def find_strata(design: Design) -> Strata | None:
    """Return the strata of a design; None if records are incomplete, terms do not commute, or it is too large."""
    if untried(design) is not None:
        return None
    fitted = design.fixed.present.all(axis=1)
    X = design.fixed.working[:, fitted].toarray()
    gram = X.T @ X
    factors = [_project(X, gram, _root(term)) for term in design.terms]
    Q, freedom = _range(factors)
    H = [(Q.T @ Z) @ (Q.T @ Z).T for Z in factors]
    W = _common_eigenvectors(H)
    if W is None:
        return None
    n_free = len(design.units) - X.shape[1]
    Y = _project(X, gram, design.working_response)
    inside = (Q @ W).T @ Y
    values = np.stack([np.einsum("ij,ik,kj->j", W, h, W) for h in H], axis=1)
    within = Y.T @ Y - inside.T @ inside
    log_X = np.linalg.slogdet(gram)[1] - 2.0 * design.fixed.log_mixing[fitted].sum()
    return _group(values, inside, within, n_free - freedom, len(design.traits) * log_X)


def _regular(term: TermDesign) -> bool:
    """Equal numbers of units on independent levels, or a dense kernel, of which no sparse engine can take advantage."""
    if term.relationship is not None:
        return bool(term.relationship.precision.nnz > 0.1 * len(term.levels) ** 2)
    counts = np.bincount(term.incidences[0].indices, minlength=len(term.levels))
    return bool(np.ptp(counts) == 0)


def _same_for_all_traits(design: Design) -> bool:
    present = design.fixed.present
    whole = all(tuple(term.effects) == design.traits and len(term.incidences) == 1 for term in design.terms)
    return whole and bool((present.all(axis=1) == present.any(axis=1)).all())


def _root(term: TermDesign) -> Array:
    """Z chol(K), (n, q)."""
    Z = term.incidences[0].toarray()
    if term.relationship is None:
        return np.asarray(Z)
    L = np.linalg.cholesky(term.relationship.precision.toarray())
    return np.asarray(np.linalg.solve(L, Z.T).T)


def _project(X: Array, gram: Array, Z: Array) -> Array:
    """Z - X(X'X)⁻¹X'Z."""
    return np.asarray(Z - X @ np.linalg.solve(gram, X.T @ Z)) if X.shape[1] else np.asarray(Z)


def _range(factors: list[Array]) -> tuple[Array, int]:
    """Orthonormal basis (n, r) of what the random terms span, and r."""
    U, s, _ = np.linalg.svd(np.hstack(factors), full_matrices=False)
    rank = int((s > 1e-9 * s[0]).sum()) if len(s) else 0
    return U[:, :rank], rank


def _common_eigenvectors(H: list[Array]) -> Array | None:
    """Orthogonal W that diagonalises all H, by the eigenvectors of a random combination; None if there is none."""
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(H))
    _, W = np.linalg.eigh(sum(w * h / max(np.trace(h), 1e-300) for w, h in zip(weights, H, strict=True)))
    for h in H:
        rotated = W.T @ h @ W
        if np.max(np.abs(rotated - np.diag(np.diag(rotated))), initial=0.0) > _TOLERANCE * np.max(np.abs(rotated)):
            return None
    return np.asarray(W)


def _group(values: Array, inside: Array, within: Array, freedom: int, log_X: float) -> Strata:
    """Join contrasts with equal eigenvalues, and add the stratum of the residual alone."""
    rounded = np.round(values / np.maximum(values.max(axis=0), 1e-300), 8)
    _, first, group = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    coefficients = np.zeros((len(first) + 1, values.shape[1]))
    products = np.zeros((len(first) + 1, *within.shape))
    counts = np.zeros(len(first) + 1)
    for s in range(len(first)):
        mine = group.reshape(-1) == s
        coefficients[s] = values[mine].mean(axis=0)
        products[s] = inside[mine].T @ inside[mine]
        counts[s] = mine.sum()
    products[-1], counts[-1] = within, freedom
    used = counts > 0
    return Strata(np.maximum(coefficients[used], 0.0), counts[used], products[used], log_X)


class StrataLikelihood:
    """Restricted likelihood of a balanced design; an evaluation costs O(strata · t³), whatever the number of units."""

    name: ClassVar[str] = "strata"
    universal: ClassVar[bool] = False

    def __init__(self, design: Design, strata: Strata) -> None:
        self.strata = strata
        # V_s = Σ_k c_ks Σ_k + R: the residual is a term with coefficient 1 everywhere.
        self._c = np.column_stack([strata.coefficients, np.ones(len(strata.freedom))])
        n_free = strata.freedom.sum() * len(design.traits)
        self._constant = float(-0.5 * (n_free * np.log(2 * np.pi) + strata.log_X) + design.log_jacobian)

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer for designs with strata, which are looked for."""
        strata = find_strata(design)
        if strata is None:
            return declined(cls.name, untried(design) or "its terms are not balanced against each other")
        each = len(design.names) * len(design.traits) ** 2 + 3 * len(design.traits) ** 3
        cost = CALL + MULTIPLICATION * len(strata.freedom) * each
        return Offer(cost=cost, prepare=lambda progress: cls(design, strata))

    @property
    def arrays(self) -> tuple[Array, Array, Array, float]:
        """Arrays that compiled code needs to evaluate this engine."""
        return self._c, self.strata.freedom, self.strata.products, self._constant

    def fork(self) -> Self:
        """Return self: nothing is written to."""
        return self

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Restricted log-likelihood; -inf where some V_s is singular."""
        return self._value(sigmas)[0]

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Restricted log-likelihood and its derivative by every matrix."""
        value, inverse = self._value(sigmas)
        if not np.isfinite(value):
            return value, [np.zeros_like(S) for S in sigmas]
        G = self.strata.freedom[:, None, None] * inverse - inverse @ self.strata.products @ inverse
        return value, [symmetric_part(-0.5 * np.einsum("s,sab->ab", c, G)) for c in self._c.T]

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """½ Σ_s c_is c_js tr(S_s V_s⁻¹ E_i V_s⁻¹ E_j V_s⁻¹) for all pairs of components."""
        value, inverse = self._value(sigmas)
        if not np.isfinite(value):
            raise np.linalg.LinAlgError("V is singular at these covariances")
        middle = inverse @ self.strata.products @ inverse
        parts = []
        for k, sigma in enumerate(sigmas):
            E = np.stack(unit_components(len(sigma)))
            parts.append(np.einsum("s,iab->siab", self._c[:, k], E))
        D = np.concatenate(parts, axis=1)
        left = np.einsum("sab,sibc->siac", middle, D)
        right = np.einsum("sab,sibc->siac", inverse, D)
        return np.asarray(0.5 * np.einsum("siab,sjba->ij", left, right))

    def _value(self, sigmas: Sequence[Array]) -> tuple[float, Array]:
        V = np.einsum("sk,kab->sab", self._c, np.stack(list(sigmas)))
        sign, log_V = np.linalg.slogdet(V)
        if not np.all(np.isfinite(log_V)) or np.any(sign <= 0):
            return -np.inf, np.full_like(V, np.nan)
        inverse = np.linalg.inv(V)
        quadratic = np.einsum("sab,sba->", inverse, self.strata.products)
        return self._constant - 0.5 * float(self.strata.freedom @ log_V + quadratic), inverse

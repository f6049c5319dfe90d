r"""Null distributions of likelihood ratios whose null hypothesis lies on the boundary of the larger model.

Near the null, the larger model is a cone, and the statistic the squared length of a normal vector's projection onto it.
Of c directions that are free and k variances that are not negative,

.. math:: \sum_i \binom{k}{i} 2^{-k} \chi^2_{c+i}

exactly for k = 1, where the cone is a half-space (one variance, with any number of covariances that it brings), and for
k > 1 if the variances are estimated independently. Any other cone with a variance in it lies within a half-space of the
dimension d of its span, so that ½χ²_{d-1} + ½χ²_d is an upper bound of the p-value.

Source: Self & Liang (1987), JASA 82:605-610; Stram & Lee (1994), Biometrics 50:1171-1177; Perlman (1969), Ann. Math.
Statist. 40:549-567 (the bound).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.special import chdtrc

from bayesmv.arrays import Array
from bayesmv.covariance import SINGULAR, CovarianceStructure, contains, structure
from bayesmv.numerics.symmetric import packed_rows

#: Slope, over the steepest, below which a direction counts as flat.
_FLAT = 1e-3


@dataclass(frozen=True, kw_only=True)
class Cone:
    """Cone that the larger model adds to the null near it.

    Parameters
    ----------
    free
        Directions in which it goes both ways.
    variances
        Directions in which it goes one way only.
    exact
        The cone is these directions; else it lies within them.
    """

    free: int = 0
    variances: int = 0
    exact: bool = True

    @property
    def bound(self) -> Cone:
        """The half-space of the same dimension, or the whole space if there is no boundary."""
        half = int(self.variances > 0)
        return Cone(free=self.free + self.variances - half, variances=half, exact=False)

    def p_value(self, statistic: float) -> float:
        """Probability of a statistic as large."""
        k = self.variances
        weights = np.array([comb(k, i) for i in range(k + 1)]) / 2.0**k
        return float(weights @ [_tail(self.free + i, statistic) for i in range(k + 1)])

    def __str__(self) -> str:
        if not self.variances:
            return f"chi-square on {self.free} df"
        return f"mixture of chi-squares on {self.free} to {self.free + self.variances} df"


def _tail(df: int, statistic: float) -> float:
    return float(chdtrc(df, statistic)) if df else float(statistic <= 0.0)


def together(cones: Iterable[Cone]) -> Cone:
    """Cone of independent parts; its bound if a part is one."""
    parts = list(cones)
    whole = Cone(free=sum(c.free for c in parts), variances=sum(c.variances for c in parts))
    return whole if all(c.exact for c in parts) else whole.bound


def added(large: CovarianceStructure) -> Cone:
    """Cone of a term that the null has not: the covariance matrices that the term can have."""
    d = _span(large)
    if d == 1 or (d == large.n_parameters and _independent(large)):
        return Cone(variances=d)
    return Cone(free=d - 1, variances=1, exact=False)


def grown(large: CovarianceStructure, small: CovarianceStructure) -> Cone:
    """Cone of a term with more effects than in the null, such as a slope beside an intercept."""
    more = large.size - small.size
    if _independent(large):
        return Cone(free=large.n_parameters - small.n_parameters - more, variances=more)
    d = _span(large) - small.n_parameters
    return Cone(free=d - 1, variances=1, exact=more == 1 and contains(large, structure("us", large.size)))


def changed(large: CovarianceStructure, small: CovarianceStructure, unit: Array) -> Cone:
    """Cone of a term whose effects have another structure in the null; `unit` (m,) is that of the null's effects.

    Where a parameter of the larger structure has no slope, as loadings at 0, the cone is curved: it has the dimension
    of what it spans.
    """
    members = [np.outer(unit, unit) * S for S in _members(small)]
    if any(_regular(large, S) for S in members):  # then almost all are
        return Cone(free=large.n_parameters - small.n_parameters)
    d = _span(large) - small.n_parameters
    if large.max_rank == small.max_rank:
        return Cone(free=d, exact=False)
    one_more = small.max_rank == large.size - 1 and contains(large, structure("us", large.size))
    return Cone(free=d - 1, variances=1, exact=one_more)


def parted(parts: Sequence[CovarianceStructure], small: CovarianceStructure) -> Cone:
    """Cone of residuals with a structure in each group of units, alike in the null: no variance is new."""
    cones = [changed(part, small, np.ones(small.size)) for part in parts]
    regular = all(c.exact and not c.variances for c in cones)
    free = sum(small.n_parameters + c.free + c.variances for c in cones) - small.n_parameters
    return Cone(free=free, exact=regular)


def vanishes(large: CovarianceStructure) -> bool:
    """Whether a structure can be zero, so that a model without its term is a special case."""
    nothing = np.zeros((large.size, large.size))
    return bool(np.max(np.abs(large.matrix(large.from_matrix(nothing)))) < SINGULAR)


def _independent(large: CovarianceStructure) -> bool:
    return all(i == j for i, j in large.support)


def _members(of: CovarianceStructure, count: int = 4) -> list[Array]:
    """Some covariance matrices of a structure well within its bounds, the same ones every time."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.4, 1.2, (count, of.n_parameters))
    return list(of.matrix(size * rng.choice([-1.0, 1.0], size.shape)))


def _span(of: CovarianceStructure) -> int:
    """Dimension of the space that the matrices of a structure span."""
    at = packed_rows(of.size)
    rows = np.array([S[at] / np.max(np.diag(S)) for S in _members(of, 2 * len(at[0]) + 2)])
    return int(np.linalg.matrix_rank(rows, tol=_FLAT))


def _regular(large: CovarianceStructure, sigma: Array) -> bool:
    """Whether Σ(θ) of a structure is smooth, with all its dimensions, near a member of it."""
    theta = large.from_matrix(sigma)
    rows, cols = packed_rows(large.size)
    slopes = np.linalg.svd(large.jacobian(theta)[:, rows, cols], compute_uv=False)
    full = len(slopes) == large.n_parameters and bool((slopes > _FLAT * slopes.max(initial=0.0)).all())
    values = np.linalg.eigvalsh(sigma)
    return full and int((values > SINGULAR * values[-1]).sum()) == large.max_rank

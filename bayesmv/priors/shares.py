r"""Joint prior of variances as shares of their sum, and of that sum.

Terms whose priors name a `share` have, for every trait,

.. math:: (v_1, …, v_K) / V \sim \mathrm{Dirichlet}(a_1, …, a_K), \qquad \sqrt V \sim p, \qquad V = \sum_k v_k

v_k the variances of the trait and p the prior of standard deviations that they have in common. On the standard
deviations ``s_k = √v_k`` the density is ``Π (s_k²/V)^(a_k - 1) p(√V) V^(½ - K) Π s_k`` up to a constant: the Jacobian
of ``v → (shares, V)`` is ``V^(K-1)``. With two terms it is a beta prior of a heritability. Correlations keep their own
priors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import SpecError, listing
from bayesmv.priors.declarations import CovariancePrior, ScalePrior


def shared_terms(priors: Mapping[str, CovariancePrior]) -> tuple[str, ...]:
    """Names of the terms that share a variance.

    Raises
    ------
    SpecError
        If there is only one, or they have different priors of the total.
    """
    names = tuple(name for name, prior in priors.items() if prior.share is not None)
    if len(names) == 1:
        raise SpecError(f"only the prior of {names[0]} names a share; two terms or more share a variance")
    if len({priors[name].sd.describe() for name in names}) > 1:
        raise SpecError(
            f"{listing(names)} share a variance, and have one prior of its square root: give all the same sd"
        )
    return names


def log_shares(sds: Sequence[Array], weights: Sequence[float], total: ScalePrior) -> tuple[float, list[Array]]:
    """Log density of the standard deviations s_k (t,) of some terms, up to a constant, and its derivatives by them."""
    s, a = np.array(sds), np.asarray(weights)[:, None]  # (K, t)
    K = len(s)
    V = np.sum(s**2, axis=0)
    root = np.sqrt(V)
    powers = (2.0 * a - 1.0) * np.log(s)
    # Shares take V^-(Σa - K), the Jacobian V^(½-K).
    out = powers.sum(axis=0) - (np.sum(a) - 0.5) * np.log(V) + total.log_density(root)
    by_V = -(np.sum(a) - 0.5) / V + total.derivative(root) / (2.0 * root)
    slopes = (2.0 * a - 1.0) / s + 2.0 * s * by_V
    return float(out.sum()), list(slopes[:K])


def draw_shares(weights: Sequence[float], total: ScalePrior, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Standard deviations of every term, (terms, *size)."""
    parts = np.array([rng.gamma(a, 1.0, size) for a in weights])
    return np.asarray(np.sqrt(parts / parts.sum(axis=0)) * total.draw(rng, size))

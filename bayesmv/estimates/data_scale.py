r"""Genetic parameters on the scale of the data, of traits whose latent value is normal.

With latent means μ, latent phenotypic covariance P and additive genetic covariance G, ``η ~ N(μ, P)``, and the families
giving ``E(y | η) = g⁻¹(η)`` and var(y | η):

.. math::

    \bar y = E\,g^{-1}(η), \qquad Ψ_i = E\,\frac{dg_i^{-1}}{dη_i}, \qquad
    G_{obs} = Ψ G Ψ, \qquad P_{obs} = \mathrm{cov}\,g^{-1}(η) + \mathrm{diag}\,E\,\mathrm{var}(y | η)

and the heritability is G_obs / P_obs of a trait. Integrals are Gauss-Hermite; those of probit and logarithmic
links have closed forms that tests hold them to. P is without the variance of the link in its diagonal; the residual
of a liability is in its covariances.

Source: de Villemereuil, Schielzeth, Nakagawa & Morrissey (2016), Genetics 204:1281-1294.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.estimates.source import describe
from bayesmv.families import Family
from bayesmv.families.declared import Binomial, Ordered, families_of

#: Nodes of an integral over one latent value, and along each of two.
_NODES, _PAIR = 80, 40


def data_scale(
    means: npt.ArrayLike,
    additive: npt.ArrayLike,
    phenotypic: npt.ArrayLike,
    families: Sequence[str | Family] | str | Family,
    traits: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Heritabilities and (co)variances on the scale of the data, from those on the latent scale.

    Whatever program they came from: the latent scale is that of the linear predictor, with overdispersion of counts in
    the phenotypic variance, and without the variance of the link (1 of a probit, π²/3 of a logit).

    Parameters
    ----------
    means
        Latent means of the traits, (t,) or (draws, t); or fixed parts of several units to average over,
        (draws, units, t).
    additive, phenotypic
        Latent additive genetic and phenotypic covariance, (t, t) or (draws, t, t); numbers for one trait.
    families
        Family of each trait: ``gaussian``, ``binary``, ``binomial``, ``ordered``, ``poisson``,
        ``negative_binomial``, ``zero_inflated_poisson``, or ``bayesmv.family("ordered", thresholds=(0, 1.1))``.
    traits
        Names of the traits.

    Returns
    -------
    DataFrame
        parameter (mean, phenotypic variance, additive genetic variance, heritability, latent heritability; of pairs
        additive genetic covariance, genetic correlation, phenotypic correlation), trait_i, trait_j and value, or, of
        several draws, mean, median, sd, hdi_low, hdi_high.

    Raises
    ------
    SpecError
        If shapes do not fit, a matrix is not a covariance matrix, or a family is unknown.

    Notes
    -----
    The genetic correlation on the scale of the data is the latent one, up to the sign of slopes: each trait is
    multiplied by its mean slope. The latent heritability counts the variance of the link in the phenotypic variance.

    References
    ----------
    de Villemereuil, Schielzeth, Nakagawa & Morrissey (2016), Genetics 204:1281-1294.

    Examples
    --------
    >>> table = data_scale(-0.764782, 1.150605, 1.150605, "binary")
    >>> round(float(table.set_index("parameter").loc["heritability", "value"]), 4)
    0.3083
    """
    G, P = (_matrices(values, what) for values, what in ((additive, "additive"), (phenotypic, "phenotypic")))
    t = G.shape[-1]
    if G.shape[-2:] != P.shape[-2:]:
        raise SpecError(f"the additive covariance is {t} × {t}, the phenotypic one {P.shape[-2]} × {P.shape[-1]}")
    chosen = families_of(families, t)
    _require_covariance(G, "additive")
    _require_covariance(P + np.diag([f.link_variance for f in chosen]), "phenotypic")
    mu = np.asarray(means, dtype=float)
    mu = mu.reshape(1, 1, t) if mu.size == t and mu.ndim <= 1 else mu[:, None, :] if mu.ndim == 2 else mu
    if mu.ndim != 3 or mu.shape[-1] != t:
        raise SpecError(f"means of {t} traits have the shape ({t},), (draws, {t}) or (draws, units, {t})")
    draws = max(len(mu), len(G), len(P))
    if any(len(x) not in (1, draws) for x in (mu, G, P)):
        raise SpecError(f"means, additive and phenotypic are of {len(mu)}, {len(G)} and {len(P)} draws")
    named = tuple(traits) if traits is not None else tuple(f"trait {i + 1}" for i in range(t)) if t > 1 else ("trait",)
    mu, G, P = (np.broadcast_to(x, (draws, *x.shape[1:])) for x in (mu, G, P))
    rows = [
        {"parameter": name, "trait_i": named[i], "trait_j": named[j], **_told(values)}
        for name, i, j, values in parameters_on_data_scale(mu, G, P, chosen)
    ]
    return pd.DataFrame(rows)


def _told(values: Array) -> dict[str, float]:
    if len(values) == 1:
        return {"value": float(values[0])}
    found = describe(values[None])
    return {name: found[name] for name in ("mean", "median", "sd", "hdi_low", "hdi_high")}


def _matrices(values: npt.ArrayLike, what: str) -> Array:
    """Covariance matrices (draws, t, t)."""
    S = np.asarray(values, dtype=float)
    S = S.reshape(1, 1, 1) if S.ndim == 0 else S.reshape(-1, 1, 1) if S.ndim == 1 else S.reshape(-1, *S.shape[-2:])
    if S.shape[-1] != S.shape[-2] or not np.isfinite(S).all():
        raise SpecError(f"the {what} covariance has the shape (t, t) or (draws, t, t), of finite numbers")
    return S


def _require_covariance(S: Array, what: str) -> None:
    """Refuse what is no covariance matrix; the phenotypic one with the variance of the link."""
    least = np.linalg.eigvalsh(S)[:, 0]
    if (least < -1e-8 * np.abs(S).max()).any() or not np.allclose(S, np.swapaxes(S, -1, -2)):
        raise SpecError(f"the {what} covariance is not symmetric and positive semi-definite")


def parameters_on_data_scale(
    mu: Array, G: Array, P: Array, families: Sequence[Family], weights: Array | None = None
) -> list[tuple[str, int, int, Array]]:
    """Parameters of every trait and pair, (draws,) each.

    Parameters
    ----------
    mu
        Fixed parts, (draws, units, t).
    G, P
        Latent additive genetic and phenotypic covariance, without the variance of the link, (draws, t, t).
    families
        Families of the traits.
    weights
        Weights of the units, which add to 1; by default alike.
    """
    t = len(families)
    share = np.full(mu.shape[1], 1.0 / mu.shape[1]) if weights is None else weights
    sd = np.sqrt(np.diagonal(P, axis1=-2, axis2=-1))
    x, w = np.polynomial.hermite_e.hermegauss(_NODES)
    w = w / w.sum()
    eta = [mu[:, :, i, None] + sd[:, None, i, None] * x for i in range(t)]  # (draws, units, nodes)
    mean = [f.mean(e) @ w for f, e in zip(families, eta, strict=True)]  # (draws, units)
    slope = np.stack([f.slope(e) @ w @ share for f, e in zip(families, eta, strict=True)], axis=1)
    out: list[tuple[str, int, int, Array]] = []
    variances = []
    for i, f in enumerate(families):
        of_means = (f.mean(eta[i]) ** 2) @ w - mean[i] ** 2
        variances.append((of_means + f.variance(eta[i]) @ w) @ share)
        additive = slope[:, i] ** 2 * G[:, i, i]
        out += [
            ("mean", i, i, mean[i] @ share),
            ("phenotypic variance", i, i, variances[i]),
            ("additive genetic variance", i, i, additive),
            ("heritability", i, i, additive / variances[i]),
            ("latent heritability", i, i, G[:, i, i] / (P[:, i, i] + f.link_variance)),
        ]
    for i in range(t):
        for j in range(i):
            covariance = slope[:, i] * slope[:, j] * G[:, i, j]
            scale = slope[:, i] * slope[:, j] * np.sqrt(G[:, i, i] * G[:, j, j])
            with np.errstate(invalid="ignore", divide="ignore"):
                r = np.asarray(covariance / scale)
            between = _covariance(mu, P, families, i, j, share)
            out += [
                ("additive genetic covariance", j, i, covariance),
                ("genetic correlation", j, i, r),
                ("phenotypic correlation", j, i, between / np.sqrt(variances[i] * variances[j])),
            ]
    return out


def _covariance(mu: Array, P: Array, families: Sequence[Family], i: int, j: int, share: Array) -> Array:
    """Covariance of the records of two traits, mean over units, (draws,).

    Of liabilities the residual, of the variance of the link, is part of what is correlated: P with it is a covariance
    matrix, and without it need not be one.
    """
    if families[i].is_threshold and families[j].is_threshold:
        return _of_liabilities(mu, P, families, i, j, share)
    if families[j].is_threshold:
        i, j = j, i
    x, w = np.polynomial.hermite_e.hermegauss(_PAIR)
    w = w / w.sum()
    sd = np.sqrt(P[:, j, j])
    with np.errstate(invalid="ignore", divide="ignore"):
        b = np.where(sd > 0, P[:, i, j] / sd, 0.0)
    rest = P[:, i, i] - b**2
    out = np.empty(len(mu))
    for d in range(len(mu)):  # (units, nodes of j)
        given = _mean_over(families[i], mu[d, :, i, None] + b[d] * x, rest[d])
        other = families[j].mean(mu[d, :, j, None] + sd[d] * x)
        out[d] = float(((given * other) @ w - (given @ w) * (other @ w)) @ share)
    return out


def _most(family: Family) -> float:
    """Records of a threshold passed: the number of trials."""
    return float(family.size) if isinstance(family, Binomial) else 1.0


def _thresholds(family: Family) -> Array:
    return np.array(family.thresholds if isinstance(family, Ordered) else (0.0,))


def _mean_over(family: Family, eta: Array, variance: float) -> Array:
    """E(y | η) averaged over N(η, variance), which of a liability may be negative, down to -1."""
    if family.is_threshold:
        scale = np.sqrt(max(1.0 + variance, 1e-12))
        passed = ndtr((eta[..., None] - _thresholds(family)) / scale).sum(axis=-1)
        return np.asarray(passed + 1.0 if isinstance(family, Ordered) else passed * _most(family))
    x, w = np.polynomial.hermite_e.hermegauss(_PAIR)
    return np.asarray(family.mean(eta[..., None] + np.sqrt(max(variance, 0.0)) * x) @ (w / w.sum()))


def _of_liabilities(mu: Array, P: Array, families: Sequence[Family], i: int, j: int, share: Array) -> Array:
    """Covariance of the numbers of thresholds that two liabilities pass, (draws,).

    ``Σ_ab ∫_0^ρ φ₂(h_a, k_b; r) dr`` over all pairs of thresholds, the derivative of the bivariate normal distribution
    function by its correlation being its density (Plackett 1954, Biometrika 41:351-360).
    """
    sd = np.sqrt(1.0 + np.stack([P[:, i, i], P[:, j, j]]))
    rho = P[:, i, j] / (sd[0] * sd[1])
    x, w = np.polynomial.legendre.leggauss(_PAIR)
    r = rho[:, None] * 0.5 * (x + 1.0)  # (draws, nodes)
    h, k = (
        (mu[:, :, t, None] - _thresholds(families[t])) / sd[m][:, None, None]  # (draws, units, thresholds)
        for m, t in enumerate((i, j))
    )
    size = _most(families[i]) * _most(families[j])
    out = np.zeros(len(mu))
    for n in range(_PAIR):
        a, b, c = h[..., :, None], k[..., None, :], r[:, n, None, None, None]
        rest = 1.0 - c**2
        density = np.exp(-0.5 * (a**2 - 2.0 * c * a * b + b**2) / rest) / (2.0 * np.pi * np.sqrt(rest))
        out += 0.5 * rho * w[n] * (density.sum(axis=(-2, -1)) @ share)
    return np.asarray(size * out)

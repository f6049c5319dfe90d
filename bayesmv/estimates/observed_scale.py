"""Heritabilities of a model's traits on the scale of their data, averaged over the fixed effects of its units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.estimates.data_scale import parameters_on_data_scale
from bayesmv.estimates.genetic import genetic_matrices
from bayesmv.estimates.points import Point
from bayesmv.estimates.source import Estimates, PosteriorEstimates, RemlEstimates, describe, estimates_of
from bayesmv.families.declared import Binomial, Censored, Family, Gaussian
from bayesmv.model.genetic import Genetic
from bayesmv.sampling.trace import drawn_group, draws_of, families_of

type Rows = list[tuple[str, int, int, Array]]


def observed_scale(
    source: Any,
    *,
    genetic: str | Genetic | None = None,
    relationship: str | None = None,
    design: Design | None = None,
    max_draws: int = 400,
) -> pd.DataFrame:
    r"""Heritabilities and (co)variances of the traits of a model on the scale of the data.

    With :math:`η ~ N(μ_r, P)` the latent value of unit r, μ_r its fixed part, and E(y | η) of the family of the trait,

    .. math:: G_{obs,ij} = Ψ_i Ψ_j G_{ij}, \quad Ψ_i = E_r E \frac{d E(y_i | η)}{dη_i}, \quad
        h^2_{obs} = G_{obs,ii} / E_r \mathrm{var}(y_i | μ_r)

    so that the variance among the fixed parts of units counts in neither. Binomial traits are of one trial.

    Parameters
    ----------
    source
        A fit, or a posterior from :func:`bayesmv.sample`.
    genetic, relationship
        The genetic term; by default the one that the model states.
    design
        Design of a posterior, or of a loaded fit.
    max_draws
        Most draws of a posterior to use, evenly spaced.

    Returns
    -------
    DataFrame
        parameter (mean, phenotypic variance, additive genetic variance, heritability, latent heritability; of pairs
        additive genetic covariance, genetic correlation, phenotypic correlation), trait_i, trait_j and, of a fit,
        estimate, std_error (delta method at the thresholds estimated) and constraint; of a posterior mean, median, sd,
        hdi_low, hdi_high, ess_bulk, ess_tail, r_hat.

    Raises
    ------
    SpecError
        If the model states no genetic term and none is given, or a posterior comes without its design.

    See Also
    --------
    data_scale : the same of numbers from any program.

    References
    ----------
    de Villemereuil, Schielzeth, Nakagawa & Morrissey (2016), Genetics 204:1281-1294.
    """
    estimates = estimates_of(source)
    own, chosen = estimates.design_of(design), estimates.genetic(genetic, relationship)
    bare = {i for i, family in enumerate(own.families) if not family.has_residual}

    def told(rows: Rows) -> Rows:
        # Without a residual on the latent scale there is nothing there for a heritability to be a share of.
        return [row for row in rows if row[0] != "latent heritability" or row[1] not in bare]

    return evaluated_on_data_scale(estimates, own, chosen, max_draws, told)


def evaluated_on_data_scale(
    estimates: Estimates, design: Design, genetic: Genetic, max_draws: int, of: Callable[[Rows], Rows]
) -> pd.DataFrame:
    """Table of what follows from the parameters on the scale of the data, columns as of :func:`observed_scale`."""
    scale = _Scale(estimates, design, genetic, of)
    rows, table = (
        _of_posterior(estimates, scale, max_draws)
        if isinstance(estimates, PosteriorEstimates)
        else _of_fit(estimates, scale)
    )
    traits = dict(enumerate(design.traits)) | {-1: "all"}
    names = [(name, traits[i], traits[j]) for name, i, j, _ in rows]
    labels = pd.DataFrame(names, columns=["parameter", "trait_i", "trait_j"])
    return pd.concat([labels, table], axis=1)


def matrices_of_rows(rows: Rows, t: int) -> tuple[Array, Array]:
    """G and P on the scale of the data, (draws, t, t), from the parameters of every trait and pair."""
    draws = len(rows[0][-1])
    G, P = np.zeros((2, draws, t, t))
    for name, i, j, values in rows:
        if name in ("additive genetic variance", "additive genetic covariance"):
            G[:, i, j] = G[:, j, i] = values
        elif name == "phenotypic variance":
            P[:, i, i] = values
    for name, i, j, values in rows:
        if name == "phenotypic correlation":
            P[:, i, j] = P[:, j, i] = values * np.sqrt(P[:, i, i] * P[:, j, j])
    return G, P


class _Scale:
    """Parameters on the scale of the data at latent covariances, fixed effects and thresholds."""

    def __init__(self, estimates: Estimates, design: Design, genetic: Genetic, of: Callable[[Rows], Rows]) -> None:
        self._estimates, self.design, self._genetic, self._of = estimates, design, genetic, of
        link = np.array([family.link_variance for family in design.families])
        self._link = np.diag(link)
        own = np.array([not family.linear for family in design.families])
        # Units alike in all that their fixed part is made of stand for one another.
        X = design.fixed.X.toarray()
        known = np.where(own, design.offset, 0.0)
        parts, counts = np.unique(np.hstack([X, known]), axis=0, return_counts=True)
        self._X, self._known = parts[:, : X.shape[1]], parts[:, X.shape[1] :]
        self._weights = counts / counts.sum()

    def coefficients(self, values: Array) -> Array:
        """Fixed effects (v, t) from those that are fitted, one after the other."""
        out = np.zeros(self.design.fixed.present.shape)
        out[self.design.fixed.present] = values
        return out

    def fixed_part(self, coefficients: Array) -> Array:
        """μ of every distinct unit, (units, t)."""
        return np.asarray(self._X @ coefficients + self._known)

    def means(self, fixed_part: Array) -> Array:
        """Means over units, (t,), without what is known of them."""
        return np.asarray(self._weights @ (fixed_part - self._known))

    @staticmethod
    def families(given: Sequence[Family]) -> tuple[Family, ...]:
        """Families of one trial, and of records that are not censored."""
        return tuple(
            replace(f, size=1.0) if isinstance(f, Binomial) else Gaussian() if isinstance(f, Censored) else f
            for f in given
        )

    def at(self, covariances: Mapping[str, Array], mu: Array, families: Sequence[Family]) -> Rows:
        """What follows from the parameters of every trait and pair, (1,) each."""
        layouts = self._estimates.layouts
        G, P = genetic_matrices(covariances, self.design.traits, self._genetic, layouts)
        latent = P - self._link
        return self._of(parameters_on_data_scale(mu[None], G[None], latent[None], families, self._weights))


def _of_fit(estimates: Estimates, scale: _Scale) -> tuple[Rows, pd.DataFrame]:
    assert isinstance(estimates, RemlEstimates)
    fit = estimates.fit
    relative, _, _ = estimates.fixed_moments(scale.design, 1)
    mu = scale.fixed_part(scale.coefficients(relative) * scale.design.scale)
    families, here = scale.families(fit.families), scale.means(mu)

    def compute(point: Point) -> Array:
        return _values(scale.at(point.covariances, mu + (point.means() - here), families))

    return scale.at(fit.covariances, mu, families), estimates.derived(compute, scale.design, None)


def _of_posterior(estimates: PosteriorEstimates, scale: _Scale, max_draws: int) -> tuple[Rows, pd.DataFrame]:
    trace = estimates.trace
    if dims.FIXED not in drawn_group(trace):
        raise SpecError("the posterior holds no fixed effects; sample with effects=True")
    fixed = draws_of(trace, dims.FIXED).to_numpy()
    covariances = estimates.covariances()
    chains, draws = fixed.shape[:2]
    picked = np.unique(np.linspace(0, draws - 1, min(draws, max(1, max_draws // chains))).astype(int))
    posterior = drawn_group(trace)
    rows: Rows = []
    values = []
    for chain in range(chains):
        for draw in picked:
            families = scale.families(families_of(posterior, scale.design, (chain, int(draw))))
            mu = scale.fixed_part(scale.coefficients(fixed[chain, draw]))
            rows = scale.at({name: S[chain, draw] for name, S in covariances.items()}, mu, families)
            values.append(_values(rows))
    found = np.array(values).reshape(chains, len(picked), -1)
    return rows, pd.DataFrame([describe(found[..., k]) for k in range(found.shape[-1])])


def _values(rows: Rows) -> Array:
    return np.array([float(values[0]) for *_, values in rows])

"""Expected values of records given the linear predictor: probabilities of classes, expected counts and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.estimates.source import Estimates, PosteriorEstimates, RemlEstimates
from bayesmv.families.averages import expected_record
from bayesmv.families.declared import Binomial, Family, Gaussian, Ordered
from bayesmv.sampling.trace import drawn_group, draws_of, picked_draws


@dataclass(frozen=True, eq=False)
class ExpectedValues:
    """What is expected of records at given latent values, at an estimate or at each of some draws.

    Parameters
    ----------
    families
        Families of the traits, (t,).
    thresholds
        Thresholds of ordered traits, (draws, K - 1) each, by position.
    variance
        Residual variance of every trait on the latent scale beyond that of the link, (draws, t).
    """

    families: tuple[Family, ...]
    thresholds: Mapping[int, Array]
    variance: Array

    @classmethod
    def of(cls, estimates: Estimates, design: Design, max_draws: int) -> ExpectedValues:
        """Those of estimates; of a posterior at the draws that its predictions are made from."""
        ordered = [i for i, f in enumerate(design.families) if isinstance(f, Ordered)]
        residual = np.asarray(estimates.covariances()[design.names[-1]])
        if isinstance(estimates, PosteriorEstimates):
            flat = residual.reshape(-1, *residual.shape[2:])
            picked = picked_draws(len(flat), max_draws)
            flat = flat[picked]
            cuts = {i: thresholds_of(estimates, design.traits[i])[picked] for i in ordered}
        else:
            assert isinstance(estimates, RemlEstimates)
            flat = residual[None]
            cuts = {i: np.array(estimates.fit.cuts[design.traits[i]])[None] for i in ordered}
        # Where groups or weights of units make residuals differ, their mean over the records stands for them.
        working = design.to_working_units(design.names[-1], flat)
        each = [np.where(design.observed, design.residual.variances(S), np.nan) for S in working]
        diagonal = np.array([np.nanmean(v, axis=0) for v in each]) * design.scale**2
        link = np.array([f.link_variance for f in design.families])
        gaussian = np.array([isinstance(f, Gaussian) for f in design.families])
        variance = np.where(gaussian | (link > 0), 0.0, diagonal)
        return cls(design.families, cuts, variance)

    def at(self, i: int, eta: Array) -> Iterator[tuple[str, Array]]:
        """What is expected of a trait at latent values (draws, cells), in words, with its values (draws, cells)."""
        family = self.families[i]
        if isinstance(family, Gaussian):
            yield "mean", eta
            return
        if isinstance(family, Ordered):
            each = [replace(family, thresholds=tuple(cuts)) for cuts in self.thresholds[i]]
            chances = np.array([f.probabilities(row) for f, row in zip(each, eta, strict=True)])
            for k in range(chances.shape[-1]):
                yield f"P({k + 1})", chances[..., k]
            return
        one = replace(family, size=1.0) if isinstance(family, Binomial) else family
        word = "probability" if isinstance(family, Binomial) else "expected count"
        yield word, expected_record(one, eta, self.variance[:, None, i])


def thresholds_of(estimates: PosteriorEstimates, trait: str) -> Array:
    """Thresholds of draws, the first of them 0, (draws, K - 1)."""
    name, group = dims.threshold_name(trait), drawn_group(estimates.trace)
    n = group.sizes[dims.CHAIN] * group.sizes[dims.DRAW]
    if name not in group:
        return np.zeros((n, 1))
    rest = draws_of(estimates.trace, name).to_numpy()
    return np.concatenate([np.zeros((n, 1)), rest.reshape(n, -1)], axis=1)

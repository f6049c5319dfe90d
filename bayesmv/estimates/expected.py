"""Expected values of records given the linear predictor: probabilities of classes, expected counts and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.estimates.source import Estimates, PosteriorEstimates, RemlEstimates
from bayesmv.families.averages import expected_record
from bayesmv.families.declared import Binomial, Family, Ordered
from bayesmv.sampling.trace import drawn_group, families_of, picked_draws


@dataclass(frozen=True, eq=False)
class ExpectedValues:
    """What is expected of records at given latent values, at an estimate or at each of some draws.

    Parameters
    ----------
    families
        Families of the traits at every draw, (draws, t).
    variance
        Residual variance of every trait on the latent scale beyond that of the link, (draws, t).
    """

    families: Sequence[tuple[Family, ...]]
    variance: Array

    @classmethod
    def of(cls, estimates: Estimates, design: Design, max_draws: int) -> ExpectedValues:
        """Those of estimates; of a posterior at the draws that its predictions are made from."""
        residual = np.asarray(estimates.covariances()[design.names[-1]])
        if isinstance(estimates, PosteriorEstimates):
            flat = residual.reshape(-1, *residual.shape[2:])
            picked = picked_draws(len(flat), max_draws)
            flat = flat[picked]
            posterior = drawn_group(estimates.trace)
            n = posterior.sizes[dims.DRAW]
            families = [families_of(posterior, design, divmod(int(draw), n)) for draw in picked]
        else:
            assert isinstance(estimates, RemlEstimates)
            flat = residual[None]
            families = [estimates.fit.families]
        # Where groups or weights of units make residuals differ, their mean over the records stands for them.
        working = design.to_working_units(design.names[-1], flat)
        each = [np.where(design.observed, design.residual.variances(S), np.nan) for S in working]
        diagonal = np.array([np.nanmean(v, axis=0) for v in each]) * design.scale**2
        counts = np.array([f.counts for f in design.families])
        return cls(families, np.where(counts, diagonal, 0.0))

    def at(self, i: int, eta: Array) -> Iterator[tuple[str, Array]]:
        """What is expected of a trait at latent values (draws, cells), in words, with its values (draws, cells)."""
        each = [families[i] for families in self.families]
        if each[0].linear:
            yield "mean", eta
            return
        if isinstance(each[0], Ordered):
            chances = np.array([_ordered(f).probabilities(row) for f, row in zip(each, eta, strict=True)])
            for k in range(chances.shape[-1]):
                yield f"P({k + 1})", chances[..., k]
            return
        word = "probability" if isinstance(each[0], Binomial) else "expected count"
        ones = [replace(f, size=1.0) if isinstance(f, Binomial) else f for f in each]
        rows = zip(ones, eta, self.variance[:, i], strict=True)
        yield word, np.array([expected_record(f, row, np.broadcast_to(v, row.shape)) for f, row, v in rows])


def _ordered(family: Family) -> Ordered:
    assert isinstance(family, Ordered)
    return family

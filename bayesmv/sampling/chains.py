"""Draws of several chains: of one length in a run, of several in one that was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array

#: Statistics of the sampler on the draws of a chain, (draws,) each.
type Statistics = Mapping[str, npt.NDArray[Any]]


class Run(NamedTuple):
    """Draws of x (chains, draws, d) and the sampler's statistics on them."""

    x: Array
    stats: xr.Dataset

    @property
    def draws(self) -> int:
        """Draws per chain."""
        return int(self.x.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Chains:
    """Draws of chains that may differ in length.

    Parameters
    ----------
    x
        Draws of each chain, (draws, d).
    stats
        Statistics on them.
    attributes
        What is said of the sampler.
    """

    x: Sequence[Array]
    stats: Sequence[Statistics]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Self:
        """Chains of a run."""
        fields = {str(name): values.to_numpy() for name, values in run.stats.data_vars.items()}
        stats = [{name: values[c] for name, values in fields.items()} for c in range(len(run.x))]
        return cls(x=list(run.x), stats=stats, attributes=run.stats.attrs)

    @property
    def lengths(self) -> list[int]:
        """Draws of each chain."""
        return [len(x) for x in self.x]

    def take(self, chains: Sequence[int], lengths: Sequence[int]) -> Chains:
        """First draws of some of the chains, at most so many of each."""
        x = [self.x[c][:n] for c, n in zip(chains, lengths, strict=True)]
        stats = [{k: v[:n] for k, v in self.stats[c].items()} for c, n in zip(chains, lengths, strict=True)]
        return Chains(x=x, stats=stats, attributes=self.attributes)

    def then(self, new: Chains) -> Chains:
        """Put the draws of each chain one after the other."""
        x = [_joined(mine, theirs) for mine, theirs in zip(self.x, new.x, strict=True)]
        stats = [
            {name: _joined(mine[name], theirs[name]) for name in mine if name in theirs}
            for mine, theirs in zip(self.stats, new.stats, strict=True)
        ]
        return Chains(x=x, stats=stats, attributes=new.attributes or self.attributes)

    def run(self) -> Run | None:
        """Most complete draws: chains cut to one length, those left out that were cut too short; None for no draw."""
        order = np.argsort([-n for n in self.lengths], kind="stable")
        lengths = np.array(self.lengths)[order]
        held = lengths * np.arange(1, len(lengths) + 1)
        # Of several ways to hold as many draws, the one with the most chains.
        best = len(held) - 1 - int(np.argmax(held[::-1]))
        if not held[best]:
            return None
        chains = sorted(order[: best + 1].tolist())
        kept = self.take(chains, [int(lengths[best])] * len(chains))
        x = np.stack(kept.x)
        fields = {name: np.stack([stats[name] for stats in kept.stats]) for name in kept.stats[0]}
        coords = {dims.CHAIN: np.arange(x.shape[0]), dims.DRAW: np.arange(x.shape[1])}
        variables = {name: ((dims.CHAIN, dims.DRAW), values) for name, values in fields.items()}
        return Run(x, xr.Dataset(variables, coords, dict(self.attributes)))


def _joined(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Both after each other; a chain without draws has no shape that fits."""
    return np.concatenate([part for part in (one, other) if len(part)] or [one])


class CutShort(KeyboardInterrupt):
    """Interruption of a batch, with the draws that were complete."""

    def __init__(self, chains: Chains) -> None:
        super().__init__()
        self.chains = chains

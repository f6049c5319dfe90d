"""Settings of the sampler: what a user may choose, checked once, and what follows where nothing is chosen."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np

from bayesmv.errors import SpecError, require_known

#: Draws per chain to begin with, and the effective sample size to reach, where the user names neither.
_DRAWS, _MIN_ESS = 1000, 1000.0
#: Draws per chain to begin with where an evaluation is dear.
_FEWER = 250
#: A run that extends itself stops at this multiple of the draws first asked for.
LIMIT = 20
#: Target acceptance, and where REML lies on the boundary, because there the curvature of the posterior varies most.
_ACCEPT, _ACCEPT_AT_BOUNDARY = 0.9, 0.95

#: Largest numbers that the sampler takes.
_MOST = {"draws": 10**8, "tune": 10**8, "chains": 1000, "cores": 1000, "seed": 2**63 - 1}


class SettingsWords(TypedDict, total=False):
    """Settings as keywords of :func:`bayesmv.sample`."""

    draws: int | None
    tune: int
    chains: int
    cores: int
    seed: int | None
    target_accept: float | None
    min_ess: float | None
    progress: bool | None
    method: str


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """Settings of the sampler.

    Parameters
    ----------
    draws
        Draws kept per chain: so many, unless `min_ess` asks for more. By default 1000, or 250 where an evaluation of
        the likelihood takes over a millisecond, and more until `min_ess`, by default 1000, is reached.
    tune, chains, cores
        Tuning draws per chain, number of chains, and how many run at once.
    seed
        Seed; the same seed repeats the run (but for rounding, which a fresh compilation may change).
    target_accept
        Target acceptance probability of NUTS; by default 0.9, and 0.95 where REML lies on the boundary.
    min_ess
        Go on until the bulk and tail effective sample sizes of every covariance and correlation reach this and R-hat is
        at most 1.01: chains continue where they ended, up to 20 × `draws` draws each. Draws whose tuning did not
        suffice (acceptance 0.1 under its target, or steps of different chains a factor of 2 apart) are dropped and
        count as tuning; so is a run of which fewer than one in 1,000 transitions diverged, and otherwise converged: it
        is drawn anew at a higher acceptance. With `draws` and without `min_ess`, the run ends after `draws`.
    progress
        Show a progress bar; by default on a terminal only.
    method
        ``nuts``; ``values``: weighted points from values of the log density alone, quicker where an evaluation is dear
        and parameters are few, of four scrambles whatever `chains`, with NUTS in its place where that is declined;
        ``auto``: values where NUTS would take 10 CPU seconds or more by the predicted cost of an evaluation, with 20
        parameters at most, REML off the boundary, and neither `draws` nor `target_accept` given; else NUTS.

    Raises
    ------
    SpecError
        If a number is out of range.
    """

    draws: int | None = None
    tune: int = 200
    chains: int = 4
    cores: int = 2
    seed: int | None = None
    target_accept: float | None = None
    min_ess: float | None = None
    progress: bool | None = None
    method: str = "auto"

    def __post_init__(self) -> None:
        for name in ("draws", "tune", "chains", "cores", "seed"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise SpecError(f"{name} must be a whole number, not {value!r}")
            least, most = (0 if name == "seed" else 1), _MOST[name]
            if value < least:
                raise SpecError(f"{name} must be at least {least}, not {value}")
            if value > most:
                raise SpecError(f"{name} must be at most {most}, not {value}")
            object.__setattr__(self, name, int(value))
        if self.min_ess is not None and not 1 <= self.min_ess < math.inf:
            raise SpecError(f"min_ess must be at least 1, not {self.min_ess}")
        if self.target_accept is not None and not 0.0 < self.target_accept < 1.0:
            raise SpecError(f"target_accept must lie between 0 and 1, not {self.target_accept}")
        require_known([self.method], ("auto", "nuts", "values"), "no method {}; methods")
        for name in ("min_ess", "target_accept"):  # NumPy's numbers, which JSON does not know
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    def settled(self, at_boundary: bool, dear: bool = False) -> SamplerSettings:
        """Settings with everything chosen that the user left open.

        Parameters
        ----------
        at_boundary
            Whether REML lies on the boundary.
        dear
            Whether an evaluation is dear: a run that is to reach an effective size begins with fewer draws, and is
            extended by what they show.
        """
        open_ended = self.draws is None and self.min_ess is None
        return replace(
            self,
            draws=(_FEWER if dear else _DRAWS) if self.draws is None else self.draws,
            min_ess=_MIN_ESS if open_ended else self.min_ess,
            seed=int(np.random.default_rng().integers(2**31)) if self.seed is None else self.seed,
            target_accept=self.target_accept or (_ACCEPT_AT_BOUNDARY if at_boundary else _ACCEPT),
            progress=sys.stderr.isatty() if self.progress is None else self.progress,
        )

    @property
    def chosen(self) -> dict[str, Any]:
        """Settings that are not the default, by name: the user's wishes."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}

    @property
    def limit(self) -> int:
        """Most draws per chain of a run that extends itself."""
        return LIMIT * (self.draws or _DRAWS)

    @property
    def words(self) -> dict[str, Any]:
        """Keywords of ``nutpie.sample``."""
        names = {"progress": "progress_bar"}
        chosen = ("draws", "tune", "chains", "cores", "seed", "target_accept", "progress")
        return {names.get(name, name): getattr(self, name) for name in chosen}

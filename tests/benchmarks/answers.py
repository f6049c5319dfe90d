"""Problems whose time to the answer is measured, and the table of it."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
from published import folder
from test_bench_likelihood import livestock_data

import bayesmv as bmv
from bayesmv.design.design import Design


def cpu_seconds() -> float:
    """User and system time of this process, all threads, and of the processes that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Data and a model that other programs can be given too.

    Parameters
    ----------
    data, pedigree
        One row per unit; and per animal, for a term ``animal``.
    traits, terms, fixed
        Trait columns; factors of unstructured random terms; fixed factor of every trait, if any.
    families
        Families of traits that are not Gaussian, in the words of a model.
    """

    data: pd.DataFrame
    traits: tuple[str, ...]
    terms: tuple[str, ...]
    pedigree: pd.DataFrame | None = None
    fixed: tuple[str, ...] = ()
    families: dict[str, str] = field(default_factory=dict)

    def design(self) -> Design:
        """The design, relationships computed afresh."""
        random = [f"us(trait):{'vm(animal, A)' if t == 'animal' else t}" for t in self.terms]
        formula = f"{' + '.join(self.traits)} ~ {' + '.join(self.fixed) or '1'}"
        spec = bmv.ModelSpec.from_formula(formula, random=" + ".join(random), families=self.families)
        kin = {} if self.pedigree is None else {"A": bmv.Relationship.from_pedigree(self.pedigree)}
        return bmv.build_design(spec, self.data, kin)


def trial(name: str = "canty_complete") -> Problem:
    """A shipped block trial."""
    return Problem(data=bmv.load_dataset(name), traits=("bden", "veloc"), terms=("Block", "Family"))


def pedigree(n: int, missing: float = 0.0) -> Problem:
    """Simulated livestock, two traits, a share of the records of the second missing."""
    data, parents = livestock_data(n, missing)
    return Problem(data=data, pedigree=parents, traits=("y1", "y2"), terms=("animal",), fixed=("sex",))


def bluetit() -> Problem:
    """Nestlings in foster nests (a published set that is not part of this repository)."""
    data, parents = (pd.read_csv(folder("bluetit") / f"{name}.csv") for name in ("data", "pedigree"))
    traits, fixed = ("tarsus", "back"), ("sex", "hatchdate")
    return Problem(data=data, pedigree=parents, traits=traits, terms=("animal", "fosternest"), fixed=fixed)


def worst_of_draws(draws: np.ndarray) -> float:
    """Effective size, bulk or tail, of the worst of the quantities that vary, from draws (chains, draws, k)."""
    varying = [draws[..., k] for k in range(draws.shape[-1]) if np.ptp(draws[..., k]) > 1e-9]
    sizes = [(az.ess(x, method="bulk"), az.ess(x, method="tail", prob=(0.05, 0.95))) for x in varying]
    return float(np.min(sizes))


def worst(trace: Any) -> float:
    """Effective size of the worst of the variances, covariances and thresholds of a posterior."""
    posterior = trace["posterior"].to_dataset()
    chosen = [v for v in posterior if str(v).endswith(("_cov", "_thresholds"))]
    parts = [posterior[v].to_numpy().reshape(*posterior[v].shape[:2], -1) for v in chosen]
    return worst_of_draws(np.concatenate(parts, axis=-1))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a program took: CPU seconds, and the effective size of its worst (co)variance, if it sampled."""

    cpu: float
    ess: float | None = None

    @property
    def rate(self) -> float:
        """What to compare, larger being better: effective draws, or fits, per CPU second."""
        return (1.0 if self.ess is None else self.ess) / self.cpu


@dataclass(frozen=True, kw_only=True)
class Row:
    """A case, our answer and those of other programs on the same data."""

    case: str
    ours: Answer
    peers: dict[str, Answer] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        """Text of a line of the table."""
        ess, per = ("", "") if self.ours.ess is None else (figure(self.ours.ess), figure(self.ours.rate))
        others = (f"{name} {_answer(it)}, ratio {figure(self.ours.rate / it.rate)}" for name, it in self.peers.items())
        return self.case, figure(self.ours.cpu), ess, per, "; ".join(others)


def figure(value: float) -> str:
    """Write a number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def _answer(peer: Answer) -> str:
    return f"{figure(peer.cpu)} s" if peer.ess is None else f"{figure(peer.rate)} per s"


def table(rows: Iterable[Row]) -> str:
    """Markdown of all rows."""
    head = ("case", "CPU s", "worst ESS", "ESS per CPU s", "other programs, the same data")
    lines = [head, ("---", "---:", "---:", "---:", "---"), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Time to the answer where traits are not Gaussian, in CPU seconds, beside MCMCglmm where R has it.

Only ``make bench`` runs this. Both programs have half-normal(1) priors of standard deviations, and one estimator of the
effective size is applied to the draws of both: bulk or tail, whichever is less, of the worst variance, covariance or
threshold. The map and the tuning count on our side, set-up and burn-in do not on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answers import Answer, Problem, cpu_seconds, worst
from published import folder
from test_bench_likelihood import livestock_data

import bayesmv as bmv

pytestmark = pytest.mark.benchmark(timer=cpu_seconds)

HALF_NORMAL = bmv.CovariancePrior(sd=bmv.HalfNormal(1.0))
PHOENIX = pytest.mark.published("phoenix")


def animals(n: int, families: dict[str, Any], h2: float = 0.3, seed: int = 1) -> Problem:
    """Latent values of animals of a simulated pedigree, residual variance 1, correlations 0.5 and 0.2."""
    _, parents = livestock_data(n, 0.0, seed)
    t, va = len(families), h2 / (1.0 - h2)
    G, R = va * (0.5 + 0.5 * np.eye(t)), 0.2 + 0.8 * np.eye(t)
    data = bmv.simulate_traits(
        pd.DataFrame({"animal": parents["id"]}),
        traits=tuple(families),
        means=dict.fromkeys(families, -0.3),
        covariances={"animal": G, "Residual": R},
        relationships={"animal": bmv.Relationship.from_pedigree(parents)},
        families=families,
        rng=np.random.default_rng(seed),
    )
    return Problem(data=data, pedigree=parents, traits=tuple(families), terms=("animal",), families=_words(families))


def trial() -> Problem:
    """Counts of 500 units in 40 families and 10 blocks."""
    layout = pd.DataFrame({"f": np.arange(500) % 40, "b": np.random.default_rng(1).integers(0, 10, 500)})
    covariances = {"f": [[0.15]], "b": [[0.1]], "Residual": [[0.3]]}
    data = bmv.simulate_traits(
        layout,
        traits=("y",),
        means={"y": 1.0},
        covariances=covariances,
        families={"y": "poisson"},
        rng=np.random.default_rng(1),
    )
    return Problem(data=data, traits=("y",), terms=("f", "b"), families={"y": "poisson"})


def phoenix() -> Problem:
    """Published set of 1,000 animals, which is not part of this repository."""
    data, parents = (pd.read_csv(folder("phoenix") / f"{name}.csv") for name in ("data", "pedigree"))
    return Problem(data=data, pedigree=parents, traits=("White",), terms=("animal",), families={"White": "binary"})


def _words(families: dict[str, Any]) -> dict[str, str]:
    return {trait: each if isinstance(each, str) else each.word for trait, each in families.items()}


BINARY = {"y": "binary"}
SCORE = {"y": bmv.family("ordered", thresholds=(0.0, 0.7, 1.3))}
BOTH = {"g": "gaussian", "y": "binary"}


@pytest.mark.parametrize(
    ("case", "make", "iterations"),
    [
        ("binary, 1,000 animals", lambda: animals(1000, BINARY), 30_000),
        ("binary, 5,000 animals", lambda: animals(5000, BINARY), 8_000),
        ("ordered, 1,000 animals", lambda: animals(1000, SCORE), 20_000),
        ("Poisson, 500 units", trial, 60_000),
        ("Gaussian and binary, 1,000 animals", lambda: animals(1000, BOTH), 15_000),
        pytest.param("`phoenix`", phoenix, 30_000, marks=PHOENIX),
    ],
)
def test_sample(cpu: Callable, report: Callable, case: str, make: Callable, iterations: int) -> None:
    """Everything but the design."""
    problem = make()
    design = problem.design()
    priors = dict.fromkeys(design.names[:-1], HALF_NORMAL)
    seconds, trace = cpu(lambda: bmv.sample(design, draws=1000, chains=4, seed=1, priors=priors))
    ours = Answer(cpu=seconds, ess=worst(trace))
    report(case, ours, problem, MCMCglmm_families=(iterations,))

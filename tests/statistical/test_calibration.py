"""Simulation-based calibration of `sample`: covariances drawn from the prior have uniform ranks among their draws.

The package states its priors in units of the phenotypic sd of the data, so that a prior "known before the data" exists
only for designs whose scale is fixed. Here it is: `Design.scale` is set to 1, which makes the prior a half-t on the
standard deviations in units of the records, and everything that `sample` does with a scale stays in use. Fixed effects
have a flat, improper prior: the restricted likelihood does not depend on them, and records are simulated with any
(here 10 and -3). Records are then exactly from the model that is sampled, and ranks are uniform (Talts et al. 2018,
arXiv:1804.06788).

False alarms: each quantity is tested at 1e-4, eight quantities of three runs: 2.4e-3 in all. Seeds are fixed.
"""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesmv.design.design import Design, build_design
from bayesmv.errors import ConvergenceWarning
from bayesmv.model.spec import ModelSpec
from bayesmv.sampling.sample import sample

ALARM = 1e-4
RUNS, BINS = 192, 12
#: 95 draws kept, every fifth: 96 possible ranks, eight to a bin.
KEPT, THIN = 95, 5
SPEC = ModelSpec.from_formula("y1 + y2 ~ 1", random="us(trait):family")


def draw_covariance(rng: np.random.Generator) -> np.ndarray:
    """Return Σ (2, 2) from the default prior: sd ~ half-t(3, 1), correlation ~ LKJ(1), which is uniform on (-1, 1)."""
    sd, r = np.abs(rng.standard_t(3, 2)), rng.uniform(-1, 1)
    return np.array([[sd[0] ** 2, r * sd[0] * sd[1]], [r * sd[0] * sd[1], sd[1] ** 2]])


def balanced(rng: np.random.Generator) -> np.ndarray:
    """Family of every unit: 8 families of 3."""
    return np.repeat(np.arange(8), 3)


def unbalanced(rng: np.random.Generator) -> np.ndarray:
    """Family of every unit: 7 families of 1 to 6."""
    return np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 3])


def records(family: np.ndarray, F: np.ndarray, R: np.ndarray, rng: np.random.Generator, lost: bool) -> Design:
    """Simulate and build the design, at scale 1; with `lost`, three units in ten lack a trait, the same in all runs."""
    effects = rng.multivariate_normal([0.0, 0.0], F, family.max() + 1)
    Y = np.array([10.0, -3.0]) + effects[family] + rng.multivariate_normal([0.0, 0.0], R, len(family))
    if lost:
        Y[3::7, 0] = Y[::6, 1] = np.nan
    data = pd.DataFrame(Y, columns=["y1", "y2"]).assign(family=family)
    return replace(build_design(SPEC, data), scale=np.ones(2))


def quantities(F: np.ndarray, R: np.ndarray) -> dict[str, np.ndarray]:
    """What is ranked, of covariances (…, 2, 2)."""
    out = {}
    for name, S in (("family", F), ("residual", R)):
        out[f"{name} sd y1"], out[f"{name} sd y2"] = np.sqrt(S[..., 0, 0]), np.sqrt(S[..., 1, 1])
        out[f"{name} correlation"] = S[..., 0, 1] / np.sqrt(S[..., 0, 0] * S[..., 1, 1])
    out["intraclass correlation y1"] = F[..., 0, 0] / (F[..., 0, 0] + R[..., 0, 0])
    out["phenotypic covariance"] = F[..., 0, 1] + R[..., 0, 1]
    return out


def ranks_of(layout, lost: bool, engine: str, seed: int, method: str) -> dict[str, np.ndarray]:
    """Rank of every true quantity among its draws, (RUNS,)."""
    rng = np.random.default_rng(seed)
    ranks: dict[str, list[int]] = {}
    for run in range(RUNS):
        F, R = draw_covariance(rng), draw_covariance(rng)
        design = records(layout(rng), F, R, rng, lost)
        with warnings.catch_warnings():
            # REML may end on a ridge of such small data; the posterior does not depend on where it starts.
            warnings.simplefilter("ignore", ConvergenceWarning)
            if method == "nuts":
                trace = sample(design, draws=KEPT * THIN, tune=300, chains=1, cores=1, seed=run)
            else:  # or NUTS where weighted points are declined, as a user has it
                trace = sample(design, method="values", min_ess=400, tune=300, cores=1, seed=run)
        assert trace.attrs["engine"] == engine
        posterior = trace["posterior"].to_dataset()
        drawn = quantities(*(_kept(posterior[name].to_numpy()) for name in ("family_cov", "Residual_cov")))
        for name, true in quantities(F, R).items():
            ranks.setdefault(name, []).append(int((drawn[name] < true).sum()))
    return {name: np.array(r) for name, r in ranks.items()}


def _kept(draws: np.ndarray) -> np.ndarray:
    """KEPT draws of all chains, (KEPT, 2, 2), evenly from each."""
    flat = np.swapaxes(draws, 0, 1).reshape(-1, 2, 2)
    return flat[np.linspace(0, len(flat) - 1, KEPT).astype(int)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "lost", "engine", "seed", "method"),
    [
        (balanced, False, "strata", 11, "nuts"),
        (unbalanced, True, "sparse", 12, "nuts"),
        (balanced, False, "strata", 13, "values"),
    ],
    ids=["balanced", "unbalanced, incomplete", "balanced, by values"],
)
def test_sample__ranks_of_covariances_from_the_prior_are_uniform(layout, lost, engine, seed, method):
    p = {}
    for name, ranks in ranks_of(layout, lost, engine, seed, method).items():
        counts = np.bincount(ranks * BINS // (KEPT + 1), minlength=BINS)
        p[name] = stats.chisquare(counts).pvalue
    assert min(p.values()) > ALARM, p

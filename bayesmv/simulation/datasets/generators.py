"""The generators of the data sets that come with the package.

The shipped files are ``make_canty()``, ``make_canty_complete()`` and ``make_ril()`` written by ``to_csv(index=False)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.design.design import build_design
from bayesmv.dims import RESIDUAL
from bayesmv.errors import DataError, SpecError, listing
from bayesmv.model.spec import ModelSpec
from bayesmv.reml import RemlFit, fit_reml
from bayesmv.simulation.datasets import published_table
from bayesmv.simulation.simulate import Means, simulate_traits, spread_means, standard_effects

#: Seeds of the shipped data sets; the generators say how they were chosen.
CANTY_SEED, CANTY_COMPLETE_SEED, RIL_SEED = 11, 1, 2

#: Decimals that the shipped data are rounded to.
_DECIMALS = {"bden": 6, "veloc": 8, "heading": 1, "height": 1, "grain_yield": 3}

_CANTY_MEANS = {"bden": 450.0, "veloc": 3.5}
_N_BLOCKS, _N_FAMILIES, _N_SECOND_TREES, _N_BDEN, _N_WITHOUT_VELOC = 11, 43, 180, 484, 5

_RIL_MEANS = {"heading": 78.0, "height": 95.0, "grain_yield": 5.2}
_N_LINES = 159


def match_reml(
    layout: pd.DataFrame,
    *,
    traits: Sequence[str],
    means: Means,
    effects: Mapping[str, Array],
    targets: Mapping[str, Array],
    observed: npt.NDArray[np.bool_] | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 200,
) -> pd.DataFrame:
    """Transform simulated effects so that the REML estimates of the traits equal given matrices.

    ``Y = M + Σ_k E_k A_k'`` with lower-triangular A_k. From ``A_k = chol(target_k)``, the step
    ``A_k ← chol(target_k) chol(estimate_k)⁻¹ A_k`` is repeated until the estimates of the unstructured model with
    random terms for all factors of `effects` equal the targets.

    Parameters
    ----------
    layout
        One row a unit, with a column for every random factor. Never modified.
    traits
        Names of the t traits.
    means
        For each trait its mean, or the fixed part of every unit (n,).
    effects
        Standard normal E_k, spread to the units (n, t), by the column of the factor; residuals under ``"Residual"``.
    targets
        Matrices (t, t), positive definite, that the estimates shall equal, under the same names.
    observed
        Which traits of which units are recorded, (n, t); all by default.
    tolerance
        Largest relative error of an element of the estimates.
    max_iterations
        Most REML fits.

    Returns
    -------
    DataFrame
        A copy of `layout` with the traits added, NaN where not observed.

    Raises
    ------
    SpecError
        If the names of `effects` and `targets` differ, or a target is not positive definite.
    DataError
        If the estimates do not reach the targets, most often because one is singular with these effects.
    """
    if set(effects) != set(targets):
        raise SpecError(f"effects are of {listing(effects)}, but targets of {listing(targets)}")
    goals = {name: _cholesky(name, targets[name]) for name in effects}
    centre = spread_means(traits, means, len(layout))
    random = " + ".join(f"us(trait):{name}" for name in effects if name != RESIDUAL)
    spec = ModelSpec.from_formula(f"{' + '.join(traits)} ~ 1", random=random)
    transforms, fit = dict(goals), None
    for _ in range(max_iterations):
        values = centre + sum(effects[name] @ A.T for name, A in transforms.items())
        values = values if observed is None else np.where(observed, values, np.nan)
        data = layout.assign(**dict(zip(traits, values.T, strict=True)))
        fit = fit_reml(build_design(spec, data), start=fit)
        if _largest_error(fit, targets) < tolerance:
            return data
        transforms = {name: _corrected(fit, name, goals[name], A) for name, A in transforms.items()}
    raise DataError(
        f"the REML estimates did not come within {tolerance:g} of the targets in {max_iterations} fits; "
        f"draw other effects, or raise tolerance"
    )


def make_canty(seed: int = CANTY_SEED) -> pd.DataFrame:
    """Make the data set ``canty``: a SIMULATED stand-in for the reference trial, incomplete like that one.

    The raw data of the reference trial are not public. These are built from its published figures alone: 11 blocks,
    43 families, and the bivariate REML estimates of :func:`bayesmv.published_table`, which :func:`match_reml`
    makes the simulated records reproduce to all printed digits. The published z-ratios imply about 431 and 606 residual
    degrees of freedom for bden and veloc; so there are one tree on each of 473 plots and a second on 180 of them, drawn
    at random, bden is recorded on 484 of the 653 trees, drawn at random, and veloc on all but 5 of those 484. Means
    (450 kg/m³ and 3.5 km/s) are only realistic.

    How the real records overlapped is not known, and nothing but the choice of the seed was done to match standard
    errors or log-likelihoods. Seed 11 is the one of 1 to 30 with the smallest gain in log-likelihood of ``us`` over
    ``diag``: 10.29 (others up to 11.5), where 8.53 is published. Its standard errors are 0.914 to 1.083 times the
    published ones. (With seed 5 the Block estimate is singular and there is no solution.)

    Parameters
    ----------
    seed
        Seed of the generator.

    Returns
    -------
    DataFrame
        tree, Block, Family, bden (kg/m³, 6 decimals), veloc (km/s, 8 decimals); 653 rows.
    """
    rng = np.random.default_rng(seed)
    plots = np.arange(_N_BLOCKS * _N_FAMILIES)
    plots = np.sort(np.concatenate([plots, rng.choice(plots, _N_SECOND_TREES, replace=False)]))
    observed = np.ones((len(plots), 2), dtype=bool)
    observed[rng.choice(len(plots), len(plots) - _N_BDEN, replace=False), 0] = False
    observed[rng.choice(np.flatnonzero(observed[:, 0]), _N_WITHOUT_VELOC, replace=False), 1] = False
    return _match_published(_tree_layout(plots), observed, rng)


def make_canty_complete(seed: int = CANTY_COMPLETE_SEED) -> pd.DataFrame:
    """Make the data set ``canty_complete``: a SIMULATED balanced trial with the reference trial's REML estimates.

    The raw data of the reference trial are not public, and were not complete. Here each of the 11 × 43 plots has one
    tree, with both traits; the bivariate REML estimates equal :func:`bayesmv.published_table` to all printed
    digits, and the standard errors do not. Any seed serves.

    Parameters
    ----------
    seed
        Seed of the generator.

    Returns
    -------
    DataFrame
        tree, Block, Family, bden (kg/m³, 6 decimals), veloc (km/s, 8 decimals); 473 rows.
    """
    plots = np.arange(_N_BLOCKS * _N_FAMILIES)
    return _match_published(_tree_layout(plots), np.ones((len(plots), 2), dtype=bool), np.random.default_rng(seed))


def make_ril(seed: int = RIL_SEED) -> pd.DataFrame:
    """Make the data set ``ril``: a SIMULATED trial of 159 recombinant inbred lines, one plot in each of 2 blocks.

    The covariances are assumed, not taken from a trial: genetic sd of 4 days, 9 cm and 0.5 t/ha with correlations of
    0.45 (heading, height), -0.25 (heading, yield) and 0.15 (height, yield); residual sd of 2 days, 6 cm and 0.55 t/ha.
    Heritabilities of line means are 0.89, 0.82 and 0.62. Two blocks give one degree of freedom for the 3 × 3 matrix of
    block effects: its REML estimate is singular, of rank 1, where programs that invert it stop with "Singularity in
    Average Information Matrix". That was so for each of the seeds 1 to 10; with seed 2 the estimated heritabilities
    and correlations of lines come near the assumed ones.

    Parameters
    ----------
    seed
        Seed of the generator.

    Returns
    -------
    DataFrame
        plot, Block, line, heading (days, 1 decimal), height (cm, 1 decimal), grain_yield (t/ha, 3 decimals); 318 rows.
    """
    plots = np.arange(2 * _N_LINES)
    block, line = np.divmod(plots, _N_LINES)
    columns = {"plot": _labels("P", plots, 3), "Block": _labels("B", block, 2), "line": _labels("L", line, 3)}
    covariances = {
        "Block": _covariance([1.0, 4.0, 0.4], [0.3, 0.0, 0.3]),
        "line": _covariance([4.0, 9.0, 0.5], [0.45, -0.25, 0.15]),
        RESIDUAL: _covariance([2.0, 6.0, 0.55], [0.10, 0.05, 0.20]),
    }
    layout, rng = pd.DataFrame(columns), np.random.default_rng(seed)
    data = simulate_traits(layout, traits=tuple(_RIL_MEANS), means=_RIL_MEANS, covariances=covariances, rng=rng)
    return data.round(_DECIMALS)


def _match_published(layout: pd.DataFrame, observed: npt.NDArray[np.bool_], rng: np.random.Generator) -> pd.DataFrame:
    """Records with the published REML estimates, from normal effects, rounded as they are stored."""
    targets = _published_covariances()
    effects = {name: standard_effects(layout, name, 2, None, rng) for name in targets}
    names = tuple(_CANTY_MEANS)
    data = match_reml(layout, traits=names, means=_CANTY_MEANS, effects=effects, targets=targets, observed=observed)
    return data.round(_DECIMALS)


def _published_covariances() -> dict[str, Array]:
    """Published estimates by term, (2, 2) in the order bden, veloc."""
    packed = published_table().groupby("term", sort=False)["component"]
    return {str(name): np.array([[a, b], [b, c]]) for name, (a, b, c) in packed}


def _tree_layout(plots: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Labels of the trees on `plots`, plots being numbered block by block."""
    block, family = np.divmod(plots, _N_FAMILIES)
    trees = _labels("T", np.arange(len(plots)), 3)
    return pd.DataFrame({"tree": trees, "Block": _labels("B", block, 2), "Family": _labels("F", family, 2)})


def _labels(prefix: str, codes: npt.NDArray[np.int64], width: int) -> list[str]:
    return [f"{prefix}{code + 1:0{width}d}" for code in codes]


def _covariance(sd: Sequence[float], correlations: Sequence[float]) -> Array:
    """Covariance matrix from standard deviations (t,) and the correlations below the diagonal, row by row."""
    C = np.eye(len(sd))
    C[np.tril_indices(len(sd), -1)] = correlations
    return np.asarray(np.outer(sd, sd) * (C + C.T - np.eye(len(sd))))


def _cholesky(name: str, target: Array) -> Array:
    try:
        return np.asarray(np.linalg.cholesky(target))
    except np.linalg.LinAlgError:
        raise SpecError(f"the target of {name} is not positive definite: {np.asarray(target).tolist()}") from None


def _largest_error(fit: RemlFit, targets: Mapping[str, Array]) -> float:
    """Largest error of the estimates, relative to the product of the target's standard deviations."""
    sd = {name: np.sqrt(np.diag(target)) for name, target in targets.items()}
    return max(float(np.max(np.abs(fit.covariances[k] - S) / np.outer(sd[k], sd[k]))) for k, S in targets.items())


def _corrected(fit: RemlFit, name: str, goal: Array, transform: Array) -> Array:
    """``chol(target) chol(estimate)⁻¹ A``."""
    if name in fit.at_boundary:
        raise DataError(f"the REML estimate of {name} is singular with these effects; draw others")
    return np.asarray(goal @ np.linalg.solve(np.linalg.cholesky(fit.covariances[name]), transform))

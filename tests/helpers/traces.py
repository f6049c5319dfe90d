"""Posteriors without sampling, assembled of given draws, and small designs to give them for."""

from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv.design.design import Design, build_design
from bayesmv.model.genetic import Genetic
from bayesmv.model.spec import ModelSpec
from bayesmv.posterior.log_posterior import LogPosterior, log_posterior
from bayesmv.sampling.batches import Run
from bayesmv.sampling.effects import wanted_effects
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.trace import RunRecord, assemble


def records(seed: int = 1, t: int = 2, blocks: int = 4, families: int = 8, plants: int = 2) -> pd.DataFrame:
    """Return a balanced trial: columns block, family, x and the traits y1 … yt, of units that differ a lot."""
    data = pd.DataFrame(list(product(range(blocks), range(families), range(plants))), columns=["block", "family", "x"])
    rng = np.random.default_rng(seed)
    L = np.tril(np.full((t, t), 0.5)) + 0.5 * np.eye(t)
    Y = (rng.normal(size=(blocks, t)))[data["block"]] + (rng.normal(size=(families, t)) @ L.T)[data["family"]]
    Y = (Y + rng.normal(size=Y.shape) @ L + 10.0) * 10.0 ** (2.0 * np.arange(t) - 1.0)
    data["x"] = rng.normal(size=len(data))
    data[["block", "family"]] = data[["block", "family"]].map("L{}".format)
    return pd.concat([data, pd.DataFrame(Y, columns=[f"y{i + 1}" for i in range(t)])], axis=1)


def make_design(
    random: str = "us(trait):block + us(trait):family",
    data: pd.DataFrame | None = None,
    *,
    fixed: str = "1",
    residual: str | None = None,
    genetic: Genetic | None = None,
    **relationships,
) -> Design:
    """Build a design of all traits in `data`."""
    data = records() if data is None else data
    traits = " + ".join(c for c in data.columns if c.startswith("y"))
    spec = ModelSpec.from_formula(f"{traits} ~ {fixed}", random=random, residual=residual, genetic=genetic)
    return build_design(spec, data, relationships)


def incomplete(data: pd.DataFrame, share: float = 0.3, seed: int = 2) -> pd.DataFrame:
    """Return the data with some cells of the traits empty, no unit without any."""
    data = data.copy()
    traits = [c for c in data.columns if c.startswith("y")]
    rng = np.random.default_rng(seed)
    lost = rng.random((len(data), len(traits))) < share
    lost[np.arange(len(data)), rng.integers(len(traits), size=len(data))] = False
    data[traits] = data[traits].mask(lost)
    return data


def some_draws(posterior: LogPosterior, chains: int = 2, draws: int = 50, seed: int = 5, spread: float = 0.3):
    """Independent draws of x around 0.3 phenotypic standard deviations, (chains, draws, d)."""
    d = posterior.blocks.n_parameters
    centre = np.where(posterior.coordinates.scales, np.log(0.6), 0.2)
    return centre + spread * np.random.default_rng(seed).normal(size=(chains, draws, d))


def draws_around(posterior: LogPosterior, theta: np.ndarray, chains: int, draws: int, spread: float = 0.05):
    """Independent draws of x around θ, (chains, draws, d)."""
    centre = posterior.coordinates.unconstrain(theta, 0.05)
    return centre + spread * np.random.default_rng(3).normal(size=(chains, draws, len(centre)))


def trace_of(design: Design, x: np.ndarray | None = None, *, divergences: int = 0, priors=None, **words) -> xr.DataTree:
    """Return what `sample` would, had NUTS drawn `x` (chains, draws, d), coordinates in logarithms."""
    x = some_draws(log_posterior(design)) if x is None else x
    diverging = np.zeros(x.shape[:2], dtype=bool)
    diverging.reshape(-1)[:divergences] = True
    coords = {"chain": np.arange(x.shape[0]), "draw": np.arange(x.shape[1])}
    stats = xr.Dataset({"diverging": (("chain", "draw"), diverging)}, coords)

    reml = words.pop("reml", None)
    effects, settings = words.pop("effects", False), SamplerSettings(**({"seed": 1, "draws": x.shape[1]} | words))
    posterior = log_posterior(design, priors)
    record = RunRecord(seed=settings.settled(False).seed, tune=settings.tune, min_ess=settings.min_ess)
    run = Run(x, stats)
    unidentified = None if reml is None else reml.uncertainty.unidentified
    return assemble(posterior, run, record, effects=wanted_effects(design, effects), unidentified=unidentified)

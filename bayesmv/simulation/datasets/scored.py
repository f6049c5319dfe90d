"""The generator of the data set ``lambs_scored``: SIMULATED weights, scab, lambing ease and worm eggs of lambs.

The shipped files are the tables of ``make_lambs_scored()`` written by ``to_csv(index=False)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from bayesmv.families.declared import Binomial, Gaussian, Ordered, Poisson
from bayesmv.families.draws import draw_records
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.simulation.datasets.breeding import Truth
from bayesmv.simulation.datasets.designs import half_sibs
from bayesmv.simulation.simulate import standard_effects

#: Seed of the shipped data: the first.
SCORED_SEED = 1
#: Families of the traits: weight (kg), scab (no, yes), ease of lambing (1 … 4) and worm eggs (a count).
FAMILIES = {
    "weight": Gaussian(),
    "scab": Binomial(),
    "ease": Ordered((0.0, 0.9, 1.7)),
    "eggs": Poisson(),
}
#: True fixed effects on the latent scale under the names that ``~ sex`` gives them, in the order of the traits.
TRUE_FIXED = {"Intercept": (30.0, -0.6, 0.2, 1.2), "sex[T.M]": (2.0, 0.2, 0.4, 0.1)}
_SD = {"animal": (2.0, 0.7, 0.6, 0.45), "Residual": (2.8, 1.0, 1.0, 0.5)}
_CORRELATIONS = {
    "animal": ((1.0, -0.4, 0.3, -0.3), (-0.4, 1.0, 0.0, 0.5), (0.3, 0.0, 1.0, 0.0), (-0.3, 0.5, 0.0, 1.0)),
    "Residual": ((1.0, -0.1, 0.0, -0.2), (-0.1, 1.0, 0.0, 0.1), (0.0, 0.0, 1.0, 0.0), (-0.2, 0.1, 0.0, 1.0)),
}
#: True covariances on the latent scale; the residual variance of a liability is 1, that of eggs their overdispersion.
TRUE_COVARIANCES = {
    name: np.outer(_SD[name], _SD[name]) * np.array(_CORRELATIONS[name]) for name in ("animal", "Residual")
}
_SIRES, _LAMBS, _COUNTED = 40, 15, 400


class Scored(NamedTuple):
    """Records, pedigree, and the truth behind them."""

    records: pd.DataFrame
    pedigree: pd.DataFrame
    truth: Truth


def make_lambs_scored(seed: int = SCORED_SEED) -> Scored:
    """Make ``lambs_scored``: SIMULATED records of 600 lambs of 40 sires, each of a ewe of its own.

    Latent values ``η = sex + a + e`` with ``vec(a) ~ N(0, G ⊗ A)`` and ``vec(e) ~ N(0, R ⊗ I)``: weight is η; scab is
    ``yes`` where η > 0; ease is the number of thresholds 0, 0.9 and 1.7 below η, plus 1; eggs are Poisson with mean
    exp(η), counted on 400 lambs drawn at random. G and R are `TRUE_COVARIANCES`; heritabilities on the latent scale are
    0.34, 0.33, 0.26 and 0.45.

    Parameters
    ----------
    seed
        Seed of the generator.
    """
    rng = np.random.default_rng(seed)
    pedigree = half_sibs("S", "E", "L", _SIRES, _LAMBS)
    n, t, traits = _SIRES * _LAMBS, len(FAMILIES), list(FAMILIES)
    standard = Pedigree.from_frame(pedigree).cholesky_times(rng.standard_normal((len(pedigree), t)))
    breeding = standard @ np.linalg.cholesky(TRUE_COVARIANCES["animal"]).T
    young = pedigree.tail(n)
    records = pd.DataFrame({"animal": young["id"].to_numpy(), "sire": young["sire"].to_numpy()})
    records["sex"] = rng.choice(["F", "M"], n)
    male = (records["sex"] == "M").to_numpy()[:, None]
    eta = np.array(TRUE_FIXED["Intercept"]) + male * np.array(TRUE_FIXED["sex[T.M]"]) + breeding[-n:]
    residual = standard_effects(records, "Residual", t, None, rng) @ np.linalg.cholesky(TRUE_COVARIANCES["Residual"]).T
    for i, (trait, law) in enumerate(FAMILIES.items()):
        records[trait] = draw_records(law, eta[:, i], residual[:, i], rng)
    records["weight"] = records["weight"].round(1)
    records["scab"] = np.where(records["scab"] > 0, "yes", "no")
    records["ease"] = records["ease"].astype(int)
    records["eggs"] = records["eggs"].astype("Int64")
    records.loc[rng.permutation(n)[_COUNTED:], "eggs"] = pd.NA
    values = pd.DataFrame(breeding, columns=traits).assign(level=pedigree["id"])
    fixed = pd.DataFrame(TRUE_FIXED, index=pd.Index(traits, name="trait")).reset_index()
    truth = Truth(
        covariances=dict(TRUE_COVARIANCES),
        fixed=fixed.melt("trait", var_name="effect", value_name="true").sort_values(
            "trait", key=lambda c: c.map(traits.index), kind="stable", ignore_index=True
        ),
        breeding_values=values.melt("level", var_name="trait", value_name="true").sort_values(
            "level", kind="stable", ignore_index=True
        ),
    )
    return Scored(records, pedigree.infer_objects(), truth)

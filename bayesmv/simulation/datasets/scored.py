"""The generator of the data set ``lambs_scored``: SIMULATED weights, scab, ease, worm eggs and days of lambs.

The shipped files are the tables of ``make_lambs_scored()`` written by ``to_csv(index=False)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from bayesmv.families.declared import Binomial, Gaussian, Ordered, Poisson
from bayesmv.families.draws import draw_records
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.simulation.datasets.breeding import Truth
from bayesmv.simulation.datasets.designs import half_sibs
from bayesmv.simulation.simulate import standard_effects

#: Seed of the shipped data: the first.
SCORED_SEED = 1
#: Families of the traits that are correlated: weight (kg), scab (no, yes), ease of lambing (1 … 4), worm eggs.
FAMILIES = {
    "weight": Gaussian(),
    "scab": Binomial(),
    "ease": Ordered((0.0, 0.9, 1.7)),
    "eggs": Poisson(),
}
#: True fixed effects on the latent scale under the names that ``~ sex`` gives them, in the order of the traits.
TRUE_FIXED = {"Intercept": (30.0, -0.6, 0.2, 1.2, 120.0), "sex[T.M]": (2.0, 0.2, 0.4, 0.1, -6.0)}
_SD = {"animal": (2.0, 0.7, 0.6, 0.45), "Residual": (2.8, 1.0, 1.0, 0.5)}
#: Standard deviations of days, which is correlated with no other trait.
_SD_OF_DAYS = {"animal": 15.0, "Residual": 25.0}
_CORRELATIONS = {
    "animal": ((1.0, -0.4, 0.3, -0.3), (-0.4, 1.0, 0.0, 0.5), (0.3, 0.0, 1.0, 0.0), (-0.3, 0.5, 0.0, 1.0)),
    "Residual": ((1.0, -0.1, 0.0, -0.2), (-0.1, 1.0, 0.0, 0.1), (0.0, 0.0, 1.0, 0.0), (-0.2, 0.1, 0.0, 1.0)),
}
#: True covariances on the latent scale; the residual variance of a liability is 1, that of eggs their overdispersion.
TRUE_COVARIANCES = {
    name: block_diag(
        np.outer(_SD[name], _SD[name]) * np.array(_CORRELATIONS[name]), np.array([[_SD_OF_DAYS[name] ** 2]])
    )
    for name in ("animal", "Residual")
}
#: Days between visits, and of the last one.
_VISITS, _LAST = 7, 140
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
    exp(η), counted on 400 lambs drawn at random; days, until a lamb was first treated, are η, of which it is known
    between which visits they ended (days_low, days_high; one a week), or that they had not by the last one, day 140. G
    and R are `TRUE_COVARIANCES`; heritabilities on the latent scale are 0.34, 0.33, 0.26, 0.45 and 0.26.

    Parameters
    ----------
    seed
        Seed of the generator.
    """
    rng = np.random.default_rng(seed)
    pedigree = half_sibs("S", "E", "L", _SIRES, _LAMBS)
    n, t, traits = _SIRES * _LAMBS, len(FAMILIES), [*FAMILIES, "days"]
    related = Pedigree.from_frame(pedigree)
    standard = related.cholesky_times(rng.standard_normal((len(pedigree), t)))
    roots = {name: np.linalg.cholesky(S[:t, :t]) for name, S in TRUE_COVARIANCES.items()}
    breeding = standard @ roots["animal"].T
    young = pedigree.tail(n)
    records = pd.DataFrame({"animal": young["id"].to_numpy(), "sire": young["sire"].to_numpy()})
    records["sex"] = rng.choice(["F", "M"], n)
    male = (records["sex"] == "M").to_numpy()[:, None]
    fixed_part = np.array(TRUE_FIXED["Intercept"]) + male * np.array(TRUE_FIXED["sex[T.M]"])
    eta = fixed_part[:, :t] + breeding[-n:]
    residual = standard_effects(records, "Residual", t, None, rng) @ roots["Residual"].T
    for i, (trait, law) in enumerate(FAMILIES.items()):
        records[trait] = draw_records(law, eta[:, i], residual[:, i], rng)
    records["weight"] = records["weight"].round(1)
    records["scab"] = np.where(records["scab"] > 0, "yes", "no")
    records["ease"] = records["ease"].astype(int)
    records["eggs"] = records["eggs"].astype("Int64")
    records.loc[rng.permutation(n)[_COUNTED:], "eggs"] = pd.NA
    of_days = _SD_OF_DAYS["animal"] * related.cholesky_times(rng.standard_normal((len(pedigree), 1)))
    breeding = np.hstack([breeding, of_days])
    days = fixed_part[:, t] + of_days[-n:, 0] + _SD_OF_DAYS["Residual"] * rng.standard_normal(n)
    visit = np.floor(days / _VISITS) * _VISITS
    records["days_low"] = np.minimum(visit, _LAST).astype(int)
    records["days_high"] = pd.array(np.where(days < _LAST, visit + _VISITS, np.nan), dtype="Float64").astype("Int64")
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

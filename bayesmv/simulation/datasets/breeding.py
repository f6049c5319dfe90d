"""The generator of the data set ``breeding``: a SIMULATED flock of sheep with its pedigree, and the truth behind it.

No real animal is behind it. The shipped files are the tables of ``make_breeding()`` written by ``to_csv(index=False)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.simulation.simulate import spread_means, standard_effects

#: Seed of the shipped data; `make_breeding` says how it was chosen.
BREEDING_SEED = 5

#: The traits and the decimals that they are recorded to: weaning weight (kg) and ultrasonic fat depth (mm).
TRAITS = {"wwt": 1, "fat": 2}

#: True covariances in the order of `TRAITS`, in kg², kg·mm and mm²; correlations are 0.50, 0.30 and 0.20.
TRUE_COVARIANCES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "animal": ((7.0, 0.72), (0.72, 0.30)),
    "litter": ((3.5, 0.17), (0.17, 0.09)),
    "Residual": ((9.5, 0.37), (0.37, 0.36)),
}

#: True fixed effects on (wwt, fat) under the names that ``~ sex + C(year)`` gives them.
TRUE_FIXED: dict[str, tuple[float, float]] = {
    "Intercept": (28.0, 4.0),
    "sex[T.M]": (2.4, -0.30),
    "C(year)[T.2017]": (1.5, 0.20),
    "C(year)[T.2018]": (-2.0, -0.25),
    "C(year)[T.2019]": (0.5, 0.10),
    "C(year)[T.2020]": (2.5, 0.30),
}

_FIRST_YEAR, _RECORDED_FROM, _LAST_YEAR = 2015, 2016, 2020
_RAMS, _NEW_RAMS, _EWES, _NEW_EWES = 5, 2, 45, 9
_RAM_AGE, _EWE_AGE = 1, 2  # years between their own birth and that of their first lambs
_LITTER_SIZES = np.repeat([1, 2, 3], [9, 27, 9])
_SHARE_WITHOUT_FAT = 0.2


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Truth that simulated data were made from.

    Parameters
    ----------
    covariances
        True covariance matrix of every term (t, t), by name of the term.
    fixed
        trait, effect, true: the fixed effects, in the rows and under the names of ``RemlFit.fixed``.
    breeding_values
        level, trait, true: the true breeding value of every animal of the pedigree.
    """

    covariances: Mapping[str, Array]
    fixed: pd.DataFrame
    breeding_values: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Breeding:
    """A simulated flock: records, pedigree and true breeding values, each as it is stored."""

    records: pd.DataFrame
    pedigree: pd.DataFrame
    breeding_values: pd.DataFrame


def make_breeding(seed: int = BREEDING_SEED) -> Breeding:
    """Make the data set ``breeding``: a SIMULATED sheep flock of 600 animals, 450 of them with records.

    Flock: 60 unrelated founders (6 rams, 54 ewes). In each year from 2015 to 2020, 5 rams and 45 ewes in use have 90
    lambs in 45 litters of one to three, nine ewes to a ram, mated at random, near relatives too. Each year but the
    first, the 2 rams and the 9 ewes longest in use leave; their places go to unused founders, then to home-bred animals
    drawn at random (there is **no selection**), rams of the year before and ewes born two years before. So a ram is
    used for two or three years and a ewe for up to five, generations overlap, and inbreeding builds up. Lambs of 2015
    have no records, as founders have none.

    Records: ``Y = XB + Z_a U + Z_l W + E`` with sex and year in X, breeding values ``vec(U) ~ N(0, G ⊗ A)``,
    litter effects ``vec(W) ~ N(0, L ⊗ I)``, a litter being the lambs of one ewe in one year, and
    ``vec(E) ~ N(0, R ⊗ I)``; G, L, R and B are `TRUE_COVARIANCES` and `TRUE_FIXED`. The values are assumed, typical
    of meat sheep: h² 0.35 and 0.40, litter variance 0.18 and 0.12 of the phenotypic variance, genetic correlation 0.5.
    Inbreeding has no effect on the means. fat is then deleted in 90 of the 450 records (20 %), drawn without regard
    to anything else: missing completely at random.

    The shipped seed, 5, was chosen: of the seeds 1 to 40 it gives the most inbreeding, and all nine REML estimates of
    the bivariate model lie within one standard error of the truth. A flock of this size often says less: 6 of those
    40 end in a singular matrix, and the estimates of the genetic correlation go from -1 to 1.

    Parameters
    ----------
    seed
        Seed of the generator.

    Returns
    -------
    Breeding
        ``records``: animal, sex (F, M), year, litter, wwt (kg, 1 decimal), fat (mm, 2 decimals, NaN where missing);
        ``pedigree``: id, sire, dam, parents before offspring, unknown parents empty; ``breeding_values``: id and the
        true breeding values, wwt and fat, 6 decimals.
    """
    rng = np.random.default_rng(seed)
    flock = _breed(rng)
    pedigree = flock[["id", "sire", "dam"]].infer_objects()
    standard = Pedigree.from_frame(pedigree).cholesky_times(rng.standard_normal((len(flock), len(TRAITS))))
    U = standard @ np.linalg.cholesky(TRUE_COVARIANCES["animal"]).T
    return Breeding(
        records=_record(flock, U, rng),
        pedigree=pedigree,
        breeding_values=pd.DataFrame({"id": flock["id"], **dict(zip(TRAITS, U.T, strict=True))}).round(6),
    )


def true_values(breeding_values: pd.DataFrame) -> Truth:
    """Put the true breeding values (id, wwt, fat) beside the true covariances and fixed effects."""
    fixed = pd.DataFrame(TRUE_FIXED, index=pd.Index(TRAITS)).rename_axis("trait")
    long = breeding_values.rename(columns={"id": "level"}).melt("level", var_name="trait", value_name="true")
    return Truth(
        covariances={name: np.array(S) for name, S in TRUE_COVARIANCES.items()},
        fixed=fixed.reset_index()
        .melt("trait", var_name="effect", value_name="true")
        .sort_values("trait", key=lambda c: c.map(list(TRAITS).index), kind="stable", ignore_index=True),
        breeding_values=long.sort_values("level", kind="stable", ignore_index=True),
    )


def _breed(rng: np.random.Generator) -> pd.DataFrame:
    """All animals in order of birth: id, sire, dam (None if unknown), sex, year (0 for founders), litter."""
    sexes = ["M"] * (_RAMS + 1) + ["F"] * (_EWES + _NEW_EWES)
    ids = [f"A{i + 1:03d}" for i in range(len(sexes))]
    flock = pd.DataFrame({"id": ids, "sire": None, "dam": None, "sex": sexes, "year": 0, "litter": None})
    rams, ewes = ids[:_RAMS], ids[_RAMS + 1 : _RAMS + 1 + _EWES]
    for year in range(_FIRST_YEAR, _LAST_YEAR + 1):
        if year > _FIRST_YEAR:
            rams = rams[_NEW_RAMS:] + _newcomers(flock, "M", year - _RAM_AGE, _NEW_RAMS, rng)
            ewes = ewes[_NEW_EWES:] + _newcomers(flock, "F", year - _EWE_AGE, _NEW_EWES, rng)
        flock = pd.concat([flock, _lambs(rams, ewes, year, len(flock), rng)], ignore_index=True)
    return flock


def _newcomers(flock: pd.DataFrame, sex: str, born: int, wanted: int, rng: np.random.Generator) -> list[str]:
    """Founders that have no offspring yet, then animals of one year drawn at random."""
    parents = flock["sire"] if sex == "M" else flock["dam"]
    own = flock[(flock["sex"] == sex) & ~flock["id"].isin(parents)]
    waiting = own.loc[own["year"] == 0, "id"].tolist()[:wanted]
    young = own.loc[own["year"] == born, "id"].tolist()
    drawn = rng.permutation(len(young))[: wanted - len(waiting)]
    return [*waiting, *(young[i] for i in drawn)]


def _lambs(rams: list[str], ewes: list[str], year: int, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """One year's lambs, n animals being there before."""
    mates = dict(zip(rng.permutation(ewes).tolist(), np.repeat(rams, len(ewes) // len(rams)).tolist(), strict=True))
    dams = np.repeat(ewes, rng.permutation(_LITTER_SIZES))
    return pd.DataFrame(
        {
            "id": [f"A{n + i + 1:03d}" for i in range(len(dams))],
            "sire": [mates[dam] for dam in dams.tolist()],
            "dam": dams,
            "sex": rng.choice(["F", "M"], len(dams)),
            "year": year,
            "litter": [f"{dam}-{year % 100}" for dam in dams.tolist()],
        }
    )


def _record(flock: pd.DataFrame, U: Array, rng: np.random.Generator) -> pd.DataFrame:
    """Records of the lambs from the first recorded year on; U (animals, t) are the breeding values."""
    seen = (flock["year"] >= _RECORDED_FROM).to_numpy()
    layout = flock.loc[seen, ["id", "sex", "year", "litter"]].rename(columns={"id": "animal"})
    layout = layout.reset_index(drop=True).infer_objects()
    values = _fixed_part(layout) + U[seen]
    for name in ("litter", "Residual"):
        root = np.linalg.cholesky(TRUE_COVARIANCES[name])
        values += standard_effects(layout, name, len(TRAITS), None, rng) @ root.T
    values[_without_fat(len(layout), rng), list(TRAITS).index("fat")] = np.nan
    return layout.assign(**dict(zip(TRAITS, values.T, strict=True))).round(TRAITS)


def _fixed_part(layout: pd.DataFrame) -> Array:
    """XB of every record, (n, t)."""
    base = spread_means(tuple(TRAITS), dict(zip(TRAITS, TRUE_FIXED["Intercept"], strict=True)), len(layout))
    male = (layout["sex"] == "M").to_numpy()[:, None] * np.array(TRUE_FIXED["sex[T.M]"])
    of_year = [TRUE_FIXED.get(f"C(year)[T.{year}]", (0.0, 0.0)) for year in layout["year"]]
    return np.asarray(base + male + np.array(of_year))


def _without_fat(n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    return rng.choice(n, round(_SHARE_WITHOUT_FAT * n), replace=False)

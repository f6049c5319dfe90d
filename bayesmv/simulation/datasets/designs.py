"""The generators of the data sets ``calves``, ``growth``, ``pens`` and ``sites``: all SIMULATED, from assumed values.

The shipped files are the tables of ``make_calves()`` … written by ``to_csv(index=False)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.pedigree import Pedigree
from bayesmv.relationship.relationship import Relationship
from bayesmv.simulation.simulate import Means, simulate_model

#: Seeds of the shipped data: the first, but for ``pens`` the third, whose social variance is nearer to the truth.
SEEDS = {"calves": 1, "growth": 1, "pens": 3, "sites": 1}

#: The model that each was simulated from.
MODELS = {
    "calves": ModelSpec.from_formula("weight ~ 1", random="us(trait):str(vm(calf, A), dam) + ide(dam)"),
    "growth": ModelSpec.from_formula(
        "weight ~ 1", random="us(leg(age, 1, 20, 140)):vm(animal, A) + us(leg(age, 1, 20, 140)):ide(animal)"
    ),
    "pens": ModelSpec.from_formula("gain ~ 1", random="us(trait):str(vm(pig, A), mates(pen)) + pen"),
    "sites": ModelSpec.from_formula("yield ~ 1", random="us(site):variety + block"),
}

#: True covariances: weights in kg, gain in 10 g a day, yield in dt/ha.
TRUE_COVARIANCES: dict[str, dict[str, list[list[float]]]] = {
    "calves": {"calf": [[14.0, -3.0], [-3.0, 6.0]], "dam_ide": [[4.0]], "Residual": [[16.0]]},
    "growth": {
        "animal": [[18.0, 5.0], [5.0, 3.0]],
        "animal_ide": [[12.0, 3.0], [3.0, 2.0]],
        "Residual": [[4.0]],
    },
    "pens": {"pig": [[30.0, 0.5], [0.5, 1.2]], "pen": [[6.0]], "Residual": [[40.0]]},
    "sites": {
        "variety": [[4.0, 2.9, 2.7, 1.2], [2.9, 3.5, 2.6, 1.0], [2.7, 2.6, 3.8, 1.1], [1.2, 1.0, 1.1, 3.0]],
        "block": [[1.0]],
        "Residual": [[12.0]],
    },
}


class Simulated(NamedTuple):
    """Records, and the pedigree behind them where there is one."""

    records: pd.DataFrame
    pedigree: pd.DataFrame | None = None


def make_calves(seed: int = SEEDS["calves"]) -> Simulated:
    """Make ``calves``: SIMULATED birth weights of 480 calves of four years, whose dams have records of their own.

    100 founder cows and 16 bulls; each year 120 cows drawn from all there are have a calf each. Bulls are replaced by
    calves of the year before. ``y = sex + direct + maternal of the dam + permanent environment of the dam + e``.
    """
    rng = np.random.default_rng(seed)
    cows, bulls = [f"C{i:03d}" for i in range(100)], [f"B{i:02d}" for i in range(16)]
    rows: list[tuple[str, str | None, str | None, str, int]] = [(a, None, None, "", 0) for a in (*cows, *bulls)]
    for year in range(1, 5):
        dams, sires = rng.choice(cows, 120), rng.choice(bulls, 120)
        names = [f"K{year}{i:03d}" for i in range(120)]
        sexes = rng.choice(["F", "M"], 120)
        rows += list(zip(names, sires.tolist(), dams.tolist(), sexes.tolist(), [year] * 120, strict=True))
        cows += [name for name, sex in zip(names, sexes, strict=True) if sex == "F"]
        bulls = [*bulls[6:], *[name for name, sex in zip(names, sexes, strict=True) if sex == "M"][:6]]
    animals = pd.DataFrame(rows, columns=["id", "sire", "dam", "sex", "year"])
    layout = animals.loc[animals["year"] > 0, ["id", "dam", "sex", "year"]].rename(columns={"id": "calf"})
    means = {"weight": 38.0 + 2.5 * (layout["sex"] == "M").to_numpy()}
    return _records("calves", layout.reset_index(drop=True), animals[["id", "sire", "dam"]], means, rng)


def make_growth(seed: int = SEEDS["growth"]) -> Simulated:
    """Make ``growth``: SIMULATED weights of 160 animals of 20 sires at four ages between 20 and 140 days.

    ``y = sex + curve(age) + breeding value(age) + permanent environment(age) + e``, both straight lines in age.
    """
    rng = np.random.default_rng(seed)
    pedigree = half_sibs("S", "D", "G", 20, 8)
    young = pedigree["id"].to_numpy()[-160:]
    layout = pd.DataFrame({"animal": np.repeat(young, 4), "sex": np.repeat(rng.choice(["F", "M"], 160), 4)})
    layout["age"] = np.clip(np.tile([20, 60, 100, 140], 160) + rng.integers(-8, 9, 640), 20, 140)
    x = (layout["age"].to_numpy() - 80.0) / 60.0
    means = {"weight": 30.0 + 15.0 * x + 1.5 * x**2 + 2.0 * (layout["sex"] == "M").to_numpy()}
    return _records("growth", layout, pedigree, means, rng)


def make_pens(seed: int = SEEDS["pens"]) -> Simulated:
    """Make ``pens``: SIMULATED daily gains of 600 pigs, in 100 pens of six from two families each.

    ``y = mean + direct + social effects of the five pen mates + pen + e``. Two families a pen tell social effects best
    (Ødegård & Olesen 2011, Aquaculture 315:315-319).
    """
    rng = np.random.default_rng(seed)
    pedigree = half_sibs("S", "D", "P", 50, 12)
    family = np.repeat(np.arange(50), 12)
    sets = rng.permutation(np.repeat(np.arange(50), 4))
    while (sets[::2] == sets[1::2]).any():
        sets = rng.permutation(sets)
    pen_of: dict[int, list[str]] = {f: [] for f in range(50)}
    for pen, pair in enumerate(sets.reshape(-1, 2)):
        for f in pair.tolist():
            pen_of[f] += [f"P{pen:03d}"] * 3
    pigs = pedigree["id"].to_numpy()[-600:]
    layout = pd.DataFrame({"pig": pigs, "pen": [pen_of[f][i % 12] for i, f in enumerate(family.tolist())]})
    return _records("pens", layout, pedigree, {"gain": 90.0}, rng)


def make_sites(seed: int = SEEDS["sites"]) -> Simulated:
    """Make ``sites``: SIMULATED yields of 48 varieties at four sites, four blocks a site, one plot a block."""
    rng = np.random.default_rng(seed)
    names, varieties = ["A", "B", "C", "D"], [f"V{i:02d}" for i in range(48)]
    layout = pd.DataFrame(
        [(site, f"{site}{b}", v) for site in names for b in range(1, 5) for v in varieties],
        columns=["site", "block", "variety"],
    )
    means = {"yield": layout["site"].map({"A": 52.0, "B": 61.0, "C": 47.0, "D": 35.0}).to_numpy()}
    return _records("sites", layout, None, means, rng)


def half_sibs(sire: str, dam: str, young: str, sires: int, size: int) -> pd.DataFrame:
    """Pedigree of `sires` families of `size`, every dam with one of them: id, sire, dam."""
    fathers, mothers = [f"{sire}{i:02d}" for i in range(sires)], [f"{dam}{i:03d}" for i in range(sires * size)]
    pedigree = pd.DataFrame({"id": [*fathers, *mothers], "sire": None, "dam": None})
    offspring = {
        "id": [f"{young}{i:03d}" for i in range(sires * size)],
        "sire": np.repeat(fathers, size),
        "dam": mothers,
    }
    return pd.concat([pedigree, pd.DataFrame(offspring)], ignore_index=True)


def _records(
    name: str, layout: pd.DataFrame, pedigree: pd.DataFrame | None, means: Means, rng: np.random.Generator
) -> Simulated:
    related = {} if pedigree is None else {"A": Relationship.from_pedigree(Pedigree.from_frame(pedigree))}
    records = simulate_model(
        MODELS[name],
        layout,
        means=means,
        covariances=TRUE_COVARIANCES[name],
        relationships=related,
        rng=rng,
    )
    return Simulated(records.round(dict.fromkeys(MODELS[name].traits, 2)), pedigree)

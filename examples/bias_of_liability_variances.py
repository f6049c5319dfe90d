"""How far are point estimates of a liability's genetic variance off? Simulated animal models, one record an animal.

    python examples/bias_of_liability_variances.py [data sets] [animals]

For each prevalence, data sets are simulated from a heritability of 0.3 and estimated by Laplace's approximation, by the
variational bound, and by the posterior with a half-normal(1) prior of the standard deviation. Printed are the mean of
the estimates of the genetic variance relative to the truth with its Monte Carlo error, medians, and how often the
estimate is 0 or, of the posterior, the 95 % interval holds the truth.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.stats import norm

import bayesmv as bmv

H2, PREVALENCES = 0.3, (0.1, 0.3, 0.5)
TRUE = H2 / (1.0 - H2)


def pedigree(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Four generations; a tenth of the males and half of the females of the one before are parents."""
    size, names = n // 4, np.array([f"A{i:05d}" for i in range(n)])
    parents = np.full((n, 2), None, dtype=object)
    for g in range(1, 4):
        before, born = names[(g - 1) * size : g * size], slice(g * size, n if g == 3 else (g + 1) * size)
        order = rng.permutation(before)
        sires, dams = order[: max(2, size // 20)], order[size // 2 :]
        k = len(names[born])
        parents[born] = np.column_stack([rng.choice(sires, k), rng.choice(dams, k)])
    return pd.DataFrame({"id": names, "sire": parents[:, 0], "dam": parents[:, 1]})


def estimates(prevalence: float, n: int, seed: int) -> dict[str, float]:
    """Estimates of one simulated data set."""
    rng = np.random.default_rng(seed)
    animals = pedigree(n, rng)
    kin = bmv.Relationship.from_pedigree(animals)
    mean = np.sqrt(1.0 + TRUE) * -norm.isf(prevalence)
    data = bmv.simulate_traits(
        pd.DataFrame({"animal": animals["id"]}),
        traits=("scab",),
        means={"scab": mean},
        covariances={"animal": [[TRUE]], "Residual": [[1.0]]},
        relationships={"animal": kin},
        families={"scab": "binary"},
        rng=rng,
    )
    spec = bmv.ModelSpec.from_formula("scab ~ 1", random="vm(animal, A)", families={"scab": "binary"})
    design = bmv.build_design(spec, data, {"A": kin})
    out = {
        engine: float(bmv.fit_reml(design, engine=engine).covariances["animal"][0, 0])
        for engine in ("laplace", "variational")
    }
    trace = bmv.sample(design, draws=500, tune=300, chains=2, seed=seed)
    row = bmv.variance_components(trace).iloc[0]
    return {**out, "posterior": row["median"], "held": float(row["hdi_low"] <= TRUE <= row["hdi_high"])}


def main(sets: int = 50, n: int = 600) -> None:
    """Print the table."""
    rows = []
    for prevalence in PREVALENCES:
        found = pd.DataFrame([estimates(prevalence, n, 1000 + k) for k in range(sets)])
        for name in ("laplace", "variational", "posterior"):
            relative = found[name] / TRUE - 1.0
            rows.append(
                {
                    "prevalence": prevalence,
                    "estimate": name,
                    "bias of the mean": relative.mean(),
                    "its error": relative.std(ddof=1) / np.sqrt(sets),
                    "of the median": relative.median(),
                    "rmse": float(np.sqrt((relative**2).mean())),
                    "at 0": (found[name] < 1e-4).mean(),
                    "interval holds": found["held"].mean() if name == "posterior" else np.nan,
                }
            )
    print(f"{sets} data sets of {n} animals, heritability {H2}; relative to the true genetic variance {TRUE:.4f}")
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

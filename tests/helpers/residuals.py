"""Records whose residuals differ between groups and have weights, and their likelihood by V, record by record."""

import numpy as np
import pandas as pd
from oracles import random_psd

import bayesmv as bmv

SITES = ("A", "B", "C")


def records(n=60, seed=1):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "site": rng.choice(SITES, n),
            "fam": rng.integers(0, 12, n).astype(str),
            "plot": np.arange(n) // 2,
            "w": rng.uniform(0.5, 2.0, n),
            "a": rng.normal(5.0, 2.0, n),
            "b": rng.normal(0.0, 0.3, n),
        }
    )
    data.loc[rng.random(n) < 0.2, "b"] = np.nan
    data.loc[rng.random(n) < 0.1, "a"] = np.nan
    return data


def design_of(residual="at(site):us(trait):units", weights="w", data=None, **words):
    spec = bmv.ModelSpec.from_formula(
        "a + b ~ site", random="us(trait):fam", residual=residual, weights=weights, **words
    )
    return bmv.build_design(spec, records() if data is None else data)


def dense_loglik(design, data, family, residuals):
    """Restricted log-likelihood in the units of the data; `residuals` by site."""
    Y, traits = data[["a", "b"]].to_numpy(), (0, 1)
    rows = [(u, t) for u in range(len(Y)) for t in traits if not np.isnan(Y[u, t])]
    weights = data["w"].to_numpy() if design.spec.weights else np.ones(len(data))
    fam, site = list(data["fam"]), list(data["site"])
    V = np.zeros((len(rows), len(rows)))
    for p, (u, s) in enumerate(rows):
        for q, (v, t) in enumerate(rows):
            if fam[u] == fam[v]:
                V[p, q] += family[s, t]
            if u == v:
                V[p, q] += residuals[site[u]][s, t] / weights[u]
    X = np.array([[(site[u] == level) * (t == s) for s in traits for level in SITES] for u, t in rows], float)
    y = np.array([Y[u, t] for u, t in rows])
    inside = X.T @ np.linalg.solve(V, X)
    b = np.linalg.solve(inside, X.T @ np.linalg.solve(V, y))
    e = y - X @ b
    # The package codes sites by treatment: |X'X| is the same, as the change of coding has determinant 1.
    dets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(inside)[1]
    return -0.5 * ((len(y) - X.shape[1]) * np.log(2 * np.pi) + dets + e @ np.linalg.solve(V, e))


def matrices(design, seed=3):
    """Family and residual covariances in the units of the data, and the latter as the design has them."""
    rng = np.random.default_rng(seed)
    unit = np.outer(design.scale, design.scale)
    family = random_psd(2, rng) * unit
    groups = design.residual.groups or ("all",)
    residuals = {g: random_psd(2, rng) * unit for g in groups}
    if design.spec.residual == "diag":
        residuals = {g: np.diag(np.diag(S)) for g, S in residuals.items()}
    m = len(design.residual.effects)
    whole = np.zeros((m, m))
    for g, S in enumerate(residuals.values()):
        whole[np.ix_(design.residual.places(g), design.residual.places(g))] = S
    return family, residuals, whole


def scaled(design, family, whole):
    return [S / np.outer(s, s) for S, s in zip((family, whole), map(design.effect_scale, design.names), strict=True)]

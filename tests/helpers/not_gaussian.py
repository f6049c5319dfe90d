"""Small designs with traits that are not Gaussian."""

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

import bayesmv as bmv
from bayesmv.families.declared import Censored, of_rows
from bayesmv.families.terms import terms
from bayesmv.likelihood.latent import LaplaceLikelihood
from bayesmv.likelihood.latent.conditioning import build_conditioning
from bayesmv.posterior.latent import LatentMap, LatentPosterior
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.sampling.chains import Run
from bayesmv.sampling.latent import _Keeper
from bayesmv.sampling.settings import SamplerSettings

FAMILIES = {
    "z": "binary",
    "c": "poisson",
    "d": "poisson",
    "o": "ordered",
    "m": {"family": "binomial", "size": 5, "link": "logit"},
    "n": "negative_binomial",
    "i": "zero_inflated_poisson",
    "t": {"family": "censored", "lower": "t_low", "upper": "t_high"},
    "v": "binary",
}


def table(n=150, seed=1):
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "f": [f"F{i}" for i in rng.integers(0, 15, n)],
            "b": [f"B{i}" for i in rng.integers(0, 4, n)],
            "x": rng.normal(size=n),
        }
    )
    u = out.f.map(dict(zip(sorted(out.f.unique()), rng.normal(size=15), strict=False))).to_numpy()
    out["y"] = u + rng.normal(size=n)
    out.loc[3:9, "y"] = np.nan
    out["w"] = 2.0 + 0.5 * u + rng.normal(size=n)
    out["z"] = (0.3 + 0.5 * u + rng.normal(size=n) > 0).astype(float)
    out["c"] = rng.poisson(np.exp(0.5 + 0.4 * u + 0.3 * rng.normal(size=n)))
    liability = 0.5 * u + rng.normal(size=n)
    out["o"] = 1 + (liability > 0).astype(int) + (liability > 1)
    out["m"] = rng.binomial(5, 1 / (1 + np.exp(-u)))
    out["n"] = rng.poisson(np.exp(0.5 + 0.4 * u) * rng.gamma(1.5, 1 / 1.5, n))
    out["i"] = rng.poisson(np.exp(0.8 + 0.3 * u)) * (rng.uniform(size=n) < 0.7)
    out["v"] = (0.4 * u + 0.5 * (liability - 0.5 * u) + 0.9 * rng.normal(size=n) > 0).astype(float)
    age = 5.0 + 2.0 * u + 3.0 * rng.normal(size=n)
    kind = rng.integers(0, 4, n)  # known, from below, from above, between two bounds
    out["t_low"] = np.select([kind == 0, kind == 1, kind == 2], [age, age - 1.0, np.nan], np.floor(age))
    out["t_high"] = np.select([kind == 0, kind == 1, kind == 2], [age, np.nan, age + 2.0], np.floor(age) + 1.0)
    return out


def table_with_gaps():
    """Table in which units lack some of the traits, with a second count."""
    data = table(60)
    data["d"] = np.random.default_rng(3).poisson(np.exp(0.3 + 0.3 * data.y.fillna(0.0)))
    for i, trait in enumerate("zcowv"):
        data.loc[10 * i : 10 * i + 7, trait] = np.nan
    data.loc[50:57, ["t_low", "t_high"]] = np.nan
    return data


def design(traits, random="us(trait):f", data=None, fixed="x", residual="diag(trait):units"):
    families = {trait: FAMILIES[trait] for trait in traits if trait in FAMILIES}
    residual = None if len(traits) == 1 else residual
    spec = bmv.ModelSpec.from_formula(
        f"{' + '.join(traits)} ~ {fixed}", random=random, residual=residual, families=families
    )
    return bmv.build_design(spec, table() if data is None else data)


def some_sigmas(design, seed=2):
    """Covariances that are free and those that families fix."""
    rng = np.random.default_rng(seed)
    out = []
    for term in design.terms:
        m = len(term.effects)
        A = rng.normal(size=(m, m))
        full = 0.1 * A @ A.T + 0.1 * np.eye(m)
        out.append(np.diag(np.diag(full)) if "diag" in term.structure.name or m == 1 else full)
    sd = np.sqrt([family.link_variance or 0.6 for family in design.families])
    linked = build_conditioning(design).linked
    correlation = np.where(linked, 0.3, 0.0) + np.diag(1.0 - 0.3 * np.ones(len(sd)))
    out.append(sd[:, None] * correlation * sd)
    return out


def _logs(d, family, y, mine, eta, sd):
    """log p(y | η) of the records of a group at nodes η (60, 1), residual standard deviation sd of a censored trait."""
    if not isinstance(family, Censored):
        return terms(family, np.broadcast_to(y[mine], (60, mine.sum())), eta).value
    bounds = of_rows(d.working_families[0], mine)
    between = norm.cdf((bounds.upper - eta) / sd) - norm.cdf((bounds.lower - eta) / sd)
    return np.where(bounds.exact, norm.logpdf(y[mine], eta, sd), np.log(np.maximum(between, 1e-300)))


def written_out(d, sigma, family=None, sd=1.0):
    """log ∫ Π_f ∫ Π_r p(y | μ + σ u) N(u) du dμ of one trait with an intercept and one variance."""
    y, groups = d.working_response[:, 0], d.terms[0].incidences[0].toarray().argmax(axis=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    mus = np.linspace(-3.0, 3.0, 121)  # of a smooth function: far more than enough
    at = np.empty(len(mus))
    for i, mu in enumerate(mus):
        total = 0.0
        for g in np.unique(groups):
            eta = mu + sigma * nodes[:, None]
            logs = _logs(d, family or d.families[0], y, groups == g, eta, sd).sum(axis=1)
            total += np.log(weights @ np.exp(logs))
        at[i] = total
    return at.max() + np.log(np.sum(np.exp(at - at.max())) * (mus[1] - mus[0]))


def keeper_and_run(d, levels, n=5):
    """What keeps the draws of a design, of some levels of f, and points near the mode; nothing is sampled."""
    where = LatentMap(LatentPosterior(LogPosterior(design=d, engine=LaplaceLikelihood(d), priors=d.priors())))
    keeper, rng = _Keeper(where, {"f": levels}), np.random.default_rng(1)
    z = 0.3 * rng.standard_normal((2, n, where.latent.size + where.n_unknowns))
    kept = np.array([[where.kept(row, where.wanted({"f": levels})) for row in chain] for chain in z])
    return keeper, Run(kept, xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, n), dtype=bool))}))


def draws_near_the_mode(d, levels, n=5):
    """Trace of points near the mode, with the effects of some levels of f."""
    keeper, run = keeper_and_run(d, levels, n)
    return keeper.trace(run, SamplerSettings(), False)

"""Records of traits that are not Gaussian in PyMC models: densities written out, and the posterior of the package."""

import numpy as np
import pymc as pm
import pytest
from not_gaussian import design, table_with_gaps
from pytensor.compile.mode import Mode
from scipy.stats import norm, poisson

import bayesmv as bmv
from bayesmv import dims
from bayesmv.errors import SpecError
from bayesmv.estimates.records_given_effects import log_density
from bayesmv.families.declared import of_rows

MODE = Mode(linker="py", optimizer="fast_compile")


def at_some_point(d):
    """Log densities of the records at some point, by variable, and the values of all variables there."""
    model = bmv.build_model(d, effects="sampled")
    rng = np.random.default_rng(3)
    point = {name: 0.3 * rng.standard_normal(np.shape(v)) for name, v in model.initial_point().items()}
    with model:
        outputs = model.replace_rvs_by_values([*model.deterministics, *model.free_RVs])
        names = [v.name for v in (*model.deterministics, *model.free_RVs)]
        records = [v for v in (*model.observed_RVs, *model.potentials) if v.name.startswith("records_")]
        logps = [pm.math.sum(x) for x in model.logp(vars=records, sum=False)]
        f = model.compile_fn([*outputs, *logps], inputs=model.value_vars, mode=MODE, on_unused_input="ignore")
    found = f(point)
    values = dict(zip(names, found, strict=False))
    return dict(zip([v.name for v in records], found[len(names) :], strict=True)), values


def latent_values(d, values):
    """η of all units, less offsets and in the units of the data, (n, t)."""
    beta = np.zeros(d.fixed.present.shape)
    beta[d.fixed.present] = values[dims.FIXED]
    effects = np.zeros((len(d.term("f").levels), len(d.traits)))
    effects[:] = values[dims.effect_name("f")]
    return d.fixed.X @ beta + d.term("f").incidences[0] @ effects


def total(logps, trait):
    return sum(float(v) for name, v in logps.items() if name.startswith(f"records_{trait}_"))


@pytest.mark.parametrize("traits", ["otm", "nzy", "cit"])
def test_records__independent_residuals(traits):
    d = design(tuple(traits), random="diag(trait):f")
    logps, values = at_some_point(d)
    eta, R = latent_values(d, values), values["Residual_cov"]
    for t, (trait, law) in enumerate(zip(d.traits, d.families, strict=True)):
        seen = d.observed[:, t]
        numbers = values.get(dims.family_name(trait, law.number)) if law.n_free else None
        law = of_rows(law if numbers is None else law.numbered(np.atleast_1d(numbers)), seen)
        y, at = d.response[seen, t], eta[seen, t]
        if trait in "ci":  # given their residuals, which are variables
            rest = np.concatenate([v for k, v in values.items() if k.startswith(f"{dims.RESIDUAL}_z")])
            column = [c for c in d.traits if c in "ci"].index(trait)
            units = np.concatenate([np.flatnonzero(p) for p in patterns(d)])
            epsilon = np.empty(len(d.units))
            epsilon[units] = rest[:, column]
            at = at + np.sqrt(R[t, t]) * epsilon
        variance = np.zeros(seen.sum()) if trait in "ci" else np.full(seen.sum(), R[t, t])
        wanted = log_density(law, y, at, variance).sum()
        got = total(logps, trait)
        if trait in "ty":
            # Exact records are in phenotypic standard deviations.
            exact = ~d.censored[seen, t]
            wanted += exact.sum() * np.log(d.scale[t])
            got = sum(total(logps, name) for name in ("t", "y") if name in d.traits)
        assert got == pytest.approx(wanted, rel=1e-8)


def patterns(d):
    """Units of every pattern of records, in the order of the model."""
    from bayesmv.likelihood.latent.conditioning import build_conditioning

    conditioning = build_conditioning(d)
    return [conditioning.pattern == p for p in range(len(conditioning.kinds))]


def test_records__correlated_residuals():
    d = design(tuple("yzc"), data=table_with_gaps(), residual="us(trait):units")
    logps, values = at_some_point(d)
    R, eta = values["Residual_cov"], latent_values(d, values)
    wanted = 0.0
    for p, mine in enumerate(patterns(d)):
        seen = d.observed[mine][0]
        order = [t for t in (0, 2, 1) if seen[t]]  # weights, then counts, then the threshold
        L = np.linalg.cholesky(R[np.ix_(order, order)])
        z = []
        for k, t in enumerate(order):
            known = eta[mine, t] + sum(L[k, j] * z[j] for j in range(k))
            y = d.response[mine, t]
            if t == 0:
                z.append((y - eta[mine, 0]) / L[0, 0])
                wanted += norm.logpdf(z[0]).sum() + mine.sum() * np.log(d.scale[0] / L[0, 0])
            elif t == 2:
                z.append(values[f"{dims.RESIDUAL}_z_{p}"][:, 0])
                wanted += poisson.logpmf(y, np.exp(known + L[k, k] * z[-1])).sum()
            else:
                wanted += norm.logcdf((2.0 * y - 1.0) * known / L[k, k]).sum()
    assert sum(map(float, logps.values())) == pytest.approx(wanted, rel=1e-8)


def test_models__refused():
    with pytest.raises(SpecError, match="one threshold trait with correlated residuals, not of 'z', 'v'"):
        bmv.build_model(design(tuple("zv"), residual="us(trait):units"), effects="sampled")
    with pytest.raises(SpecError, match="effects are integrated out"):
        bmv.build_model(design(("z",), random="f"))


@pytest.mark.slow
def test_posterior__is_that_of_the_package():
    d = design(tuple("zn"), random="diag(trait):f")
    with bmv.build_model(d, effects="sampled"):
        theirs = pm.sample(draws=1500, tune=800, chains=2, cores=1, random_seed=1, progressbar=False)
    mine = bmv.sample(d, draws=2000, chains=2, cores=1, seed=1)
    for name, at in (("f_sd", 0), ("f_sd", 1), ("fixed", 0), ("fixed", 2), ("n_shape", None)):
        a, b = (
            x["posterior"][name].to_numpy() if at is None else x["posterior"][name].to_numpy()[..., at]
            for x in (theirs, mine)
        )
        # Means and spreads of some 500 effective draws: 4.4 standard errors.
        error = np.sqrt(a.var() / 500.0 + b.var() / 1000.0)
        assert a.mean() == pytest.approx(b.mean(), abs=4.4 * error)
        assert a.std() == pytest.approx(b.std(), rel=0.2)

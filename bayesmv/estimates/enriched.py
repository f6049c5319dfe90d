r"""Posteriors with all groups that ArviZ knows, and what priors say before there are data.

With fixed and random effects integrated out, a record given all others is normal given the covariances:

.. math:: y_i \mid y_{-i}, Σ \sim N\bigl(y_i - (Py)_i / P_{ii},\; 1 / P_{ii}\bigr)

(:mod:`bayesmv.likelihood.sparse.leave_out`). Its density is the `log_likelihood` of a record: importance weights ``1 /
p(y_i | y_-i, Σ)`` turn the posterior into the one without the record, so that PSIS-LOO is that of the model with
effects integrated out. `posterior_predictive` are draws of the same distributions, so that LOO-PIT values are uniform
if the model is right. Neither is the joint density or a joint draw of all records; for these there are
:func:`bayesmv.sensitivity` and :func:`bayesmv.predictive_checks`.

Where traits are not Gaussian, effects are not integrated out: densities and draws are of a record given the effects
that were drawn with the covariances, its residual averaged over (:mod:`.records_given_effects`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError, require_known
from bayesmv.estimates.records_given_effects import RecordsGivenEffects, prior_families
from bayesmv.likelihood.sparse.leave_out import LeaveOut
from bayesmv.numerics.progress import watched
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.priors.density import joint_log_prior
from bayesmv.priors.draws import draw_priors
from bayesmv.sampling.trace import assemble_prior, covariance_dataset
from bayesmv.simulation.simulate import simulate_from

#: Groups that can be added.
GROUPS = ("log_prior", "log_likelihood", "prior", "prior_predictive", "posterior_predictive")
#: What the pointwise densities are of.
POINTS = ("record", "unit")


def packed(dataset: xr.Dataset, record: ModelRecord) -> xr.Dataset:
    """Variances, covariances and correlations of all terms, each once, in place of matrices.

    Parameters
    ----------
    dataset
        A group with ``<term>_cov`` (chain, draw, effect, effect).
    record
        What was sampled.

    Returns
    -------
    Dataset
        ``<term>_var`` (…, effect), and of terms with several effects ``<term>_cov`` and ``<term>_corr`` over the pairs
        of the lower triangle that are estimated, named ``a, b``; all other variables as they were, but for the
        matrices.
    """
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {dims.CHAIN: dataset[dims.CHAIN], dims.DRAW: dataset[dims.DRAW]}
    gone = set()
    for name in record.names:
        effects, structure = record.effects_of(name), record.structure(name)
        gone |= {dims.covariance_name(name), dims.correlation_name(name), dims.sd_name(name)}
        S = dataset[dims.covariance_name(name)].to_numpy()
        R = dataset[dims.correlation_name(name)].to_numpy()
        diagonal, _ = dims.effect_dims(name, effects, record.traits)
        axes = (dims.CHAIN, dims.DRAW)
        variables[dims.variance_name(name)] = ((*axes, diagonal), np.diagonal(S, axis1=-2, axis2=-1))
        coords[diagonal] = list(effects)
        pairs = [(i, j) for i, j in structure.support if i != j]
        if pairs:
            i, j = (np.array(side) for side in zip(*pairs, strict=True))
            pair = dims.pair_dim(name)
            coords[pair] = [f"{effects[b]}, {effects[a]}" for a, b in pairs]
            variables[dims.covariance_name(name)] = ((*axes, pair), S[..., i, j])
            variables[dims.correlation_name(name)] = ((*axes, pair), R[..., i, j])
    rest = dataset[[v for v in dataset.data_vars if v not in gone]]
    return xr.Dataset(variables, coords).merge(rest, compat="override", join="override")


def enrich(
    trace: xr.DataTree,
    design: Design,
    groups: Collection[str] = GROUPS,
    *,
    pointwise: str = "record",
    priors: Mapping[str, CovariancePrior] | None = None,
    max_draws: int = 1000,
    seed: int = 1,
) -> xr.DataTree:
    """Posterior with the groups that ArviZ's functions need.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    design
        The design that was sampled.
    groups
        Groups to add: ``log_prior``, ``log_likelihood``, ``prior``, ``prior_predictive``, ``posterior_predictive``.
    pointwise
        What the log likelihood is of: each ``record`` given all others, a variable for each trait with the name of the
        trait; or each ``unit`` (all its traits) given all other units, one variable ``response``.
    priors
        Priors of your own classes, which a posterior cannot hold.
    max_draws
        Most draws, over all chains; the posterior of the result is thinned to them, evenly.
    seed
        Of the predictive draws.

    Returns
    -------
    DataTree
        ``posterior`` with each variance, covariance and correlation once (:func:`packed`), ``sample_stats``,
        ``observed_data`` with a variable for each trait, and the groups asked for. The attributes of each group say
        what it holds.

    Raises
    ------
    SpecError
        If a group is unknown, or the posterior is of another design; where traits are not Gaussian, if it holds no
        effects of levels that have records.
    """
    require_known(groups, GROUPS, "no group {}; groups")
    require_known([pointwise], POINTS, "the log likelihood of a {} is not known; it is of a")
    record = ModelRecord.read(trace)
    record.require_same(ModelRecord.of(design), "the posterior", "the design")
    posterior = trace["posterior"].to_dataset()
    thin = _thinning(posterior.sizes, max_draws)
    kept = posterior.isel(draw=thin)
    known = {**record.priors, **(priors or {})}
    rng = np.random.default_rng(seed)
    out: dict[str, xr.Dataset] = {"posterior": packed(kept, record)}
    out["sample_stats"] = trace["sample_stats"].to_dataset().isel(draw=thin)
    out["observed_data"] = _by_record(design, design.response[None, None] + design.offset, ()).squeeze(drop=True)
    if "log_prior" in groups:
        out["log_prior"] = _log_prior(kept, design, known)
    if {"log_likelihood", "posterior_predictive"} & set(groups):
        densities = "log_likelihood" in groups
        of_records = _left_out if design.gaussian else partial(_given_effects, densities=densities)
        likelihood, predicted = of_records(kept, design, pointwise, rng)
        if "log_likelihood" in groups:
            out["log_likelihood"] = likelihood
        if "posterior_predictive" in groups:
            out["posterior_predictive"] = predicted
    if {"prior", "prior_predictive"} & set(groups):
        before = _prior_draws(design, known, int(np.prod([kept.sizes[d] for d in (dims.CHAIN, dims.DRAW)])), rng)
        if "prior" in groups:
            out["prior"] = packed(before, record)
        if "prior_predictive" in groups:
            out["prior_predictive"] = _predicted(before, design, rng)
    said = _SAID if design.gaussian else _SAID | _SAID_OF_FAMILIES
    tree = xr.DataTree.from_dict({name: group.assign_attrs(said.get(name, {})) for name, group in out.items()})
    tree.attrs.update(trace.attrs)
    return tree


_REFERENCE = "Vehtari, Gelman & Gabry (2017), Stat. Comput. 27:1413-1432; Sundararajan & Keerthi (2001)"
#: What each group says of itself.
_SAID: dict[str, dict[str, str]] = {
    "log_likelihood": {
        "method": "density of each record (or unit) given all others, fixed and random effects integrated out exactly, "
        "at each draw of the covariances",
        "reference": _REFERENCE,
    },
    "posterior_predictive": {
        "method": "draws of each record given all others, at each draw of the covariances; not of all records together",
        "reference": _REFERENCE,
    },
    "prior_predictive": {"method": "records of new effects at draws of the prior; fixed effects at least squares"},
    "log_prior": {"method": "log prior density of the parameters of each covariance matrix, up to a constant"},
}


#: The same where traits are not Gaussian.
_SAID_OF_FAMILIES: dict[str, dict[str, str]] = {
    "log_likelihood": {
        "method": "density of each record (or unit) given its fixed and random effects at each draw, and the other "
        "records of its unit where residuals are correlated, its residual averaged over; effects are not integrated "
        "out, so that Pareto k is high where a level has few records",
        "reference": "Vehtari, Gelman & Gabry (2017), Stat. Comput. 27:1413-1432",
    },
    "posterior_predictive": {"method": "records given the fixed and random effects of each draw, of new residuals"},
    "prior_predictive": {
        "method": "records of new effects at draws of the prior; fixed effects at least squares, of traits that are "
        "not Gaussian at 0"
    },
}


def _thinning(sizes: Mapping[Any, int], most: int) -> Array:
    """Draws of a chain that are kept, evenly spaced."""
    each = max(1, min(sizes[dims.DRAW], most // sizes[dims.CHAIN]))
    return np.unique(np.linspace(0, sizes[dims.DRAW] - 1, each).astype(int))


def _sigmas(posterior: xr.Dataset, design: Design, chain: int, draw: int) -> list[Array]:
    """Covariance matrices of one draw, scaled traits."""
    return [
        design.to_working_units(name, posterior[dims.covariance_name(name)].to_numpy()[chain, draw])
        for name in design.names
    ]


def _log_prior(posterior: xr.Dataset, design: Design, priors: Mapping[str, CovariancePrior]) -> xr.Dataset:
    """Log density of the parameters θ of all matrices at each draw, (chain, draw)."""
    require_known(design.names, priors, "the prior of {} is of a class of your own; give priors=; known")
    shape = posterior.sizes[dims.CHAIN], posterior.sizes[dims.DRAW]
    out = np.empty(shape)
    for at in np.ndindex(*shape):
        theta = design.blocks.from_matrices(_sigmas(posterior, design, *at))
        out[at] = joint_log_prior(design.blocks, design.names, design.traits_of, priors, theta)[0]
    return xr.Dataset({"prior": ((dims.CHAIN, dims.DRAW), out)}, {d: posterior[d] for d in (dims.CHAIN, dims.DRAW)})


def _left_out(
    posterior: xr.Dataset, design: Design, pointwise: str, rng: np.random.Generator
) -> tuple[xr.Dataset, xr.Dataset]:
    """Log density of each record given all others at each draw, and draws of it."""
    shape = posterior.sizes[dims.CHAIN], posterior.sizes[dims.DRAW]
    engine = LeaveOut(design, np.arange(len(design.units)))
    n, t = design.observed.shape
    unit = design.scale / np.sqrt(design.residual.weights)[:, None]
    density, drawn = np.full((*shape, n, t), np.nan), np.full((*shape, n, t), np.nan)
    whole = np.empty((*shape, n))
    observed = design.response + design.offset
    places = list(np.ndindex(*shape))
    for at in watched(places, "Leaving out by every draw", len(places)):
        sigmas = _sigmas(posterior, design, *at)
        Py, P = engine.projected(sigmas)
        variance = np.diagonal(P, axis1=1, axis2=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            sd = unit / np.sqrt(variance)
            mean = observed - unit * Py / variance
            z = (observed - mean) / sd
            density[at] = -0.5 * (np.log(2.0 * np.pi) + z**2) - np.log(sd)
        drawn[at] = mean + sd * rng.standard_normal((n, t))
        if pointwise == "unit":
            whole[at] = engine.log_density(sigmas)
    coords = {d: posterior[d] for d in (dims.CHAIN, dims.DRAW)}
    predicted = _by_record(design, drawn, coords)
    if pointwise == "record":
        return _by_record(design, density, coords), predicted
    units = {**coords, dims.UNIT: [str(u) for u in design.units]}
    return xr.Dataset({"response": ((dims.CHAIN, dims.DRAW, dims.UNIT), whole)}, units), predicted


def _given_effects(
    posterior: xr.Dataset, design: Design, pointwise: str, rng: np.random.Generator, densities: bool = True
) -> tuple[xr.Dataset, xr.Dataset]:
    """Log density of each record given the effects of each draw, and records drawn so."""
    given = RecordsGivenEffects(posterior, design)
    shape = posterior.sizes[dims.CHAIN], posterior.sizes[dims.DRAW]
    n, t = design.observed.shape
    density, drawn = np.full((*shape, n, t), np.nan), np.full((*shape, n, t), np.nan)
    whole = np.full((*shape, n), np.nan)
    places = list(np.ndindex(*shape))
    for at in watched(places, "Records by every draw", len(places)):
        sigmas = _sigmas(posterior, design, *at)
        if densities:
            density[at], whole[at] = given.log_density(at, sigmas)
        drawn[at] = given.draw(at, sigmas, rng)
    coords = {d: posterior[d] for d in (dims.CHAIN, dims.DRAW)}
    predicted = _by_record(design, drawn, coords)
    if pointwise == "record":
        return _by_record(design, density, coords), predicted
    units = {**coords, dims.UNIT: [str(u) for u in design.units]}
    return xr.Dataset({"response": ((dims.CHAIN, dims.DRAW, dims.UNIT), whole)}, units), predicted


def _by_record(design: Design, values: Array, coords: Any) -> xr.Dataset:
    """Values (chains, draws, n, t) as a variable for each trait over the units with a record of it."""
    variables, labels = {}, dict(coords or {})
    units = np.asarray([str(u) for u in design.units], dtype=object)
    for t, trait in enumerate(design.traits):
        seen = design.observed[:, t]
        name = dims.saved(trait)
        axis = dims.UNIT if design.complete else f"{name}_{dims.UNIT}"
        variables[name] = ((dims.CHAIN, dims.DRAW, axis), values[:, :, seen, t])
        labels[axis] = list(units[seen])
    return xr.Dataset(variables, labels)


def _prior_draws(design: Design, priors: Mapping[str, CovariancePrior], n: int, rng: np.random.Generator) -> xr.Dataset:
    """Covariance matrices of draws of the prior, as one chain."""
    try:
        theta = draw_priors(design.blocks, design.names, design.traits_of, priors, n, rng)
    except NotImplementedError as error:
        raise SpecError(f"{error}: parameters that are held or equated have a prior without draws") from None
    return covariance_dataset(design, theta[None])


def _predicted(draws: xr.Dataset, design: Design, rng: np.random.Generator) -> xr.Dataset:
    """Records of new effects at each draw, fixed effects at least squares."""
    shape = draws.sizes[dims.CHAIN], draws.sizes[dims.DRAW]
    values = np.empty((*shape, *design.observed.shape))
    for at in np.ndindex(*shape):
        sigmas = _sigmas(draws, design, *at)
        values[at] = simulate_from(design, sigmas, rng, families=prior_families(design, sigmas, rng))
    return _by_record(design, values, {d: draws[d] for d in (dims.CHAIN, dims.DRAW)})


def prior_predictive(
    design: Design,
    priors: Mapping[str, CovariancePrior] | None = None,
    *,
    draws: int = 1000,
    seed: int = 1,
) -> xr.DataTree:
    """Draws of the priors, and of records that they predict, before anything is fitted.

    The result stands for a posterior where results are read: ``bayesmv.genetic_parameters(tree)`` tells what the
    priors say about heritabilities, genetic correlations and repeatabilities, :func:`bayesmv.derive` about anything.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`.
    priors
        Priors by name of the term, in place of those of the specification.
    draws
        Number of draws.
    seed
        Of the draws.

    Returns
    -------
    DataTree
        ``prior`` with ``<term>_cov``, ``<term>_corr``, ``<term>_sd``; ``prior_predictive`` and ``observed_data`` with
        a variable for each trait.

    Raises
    ------
    SpecError
        If a prior has no draws, such as that of parameters which are set equal.
    """
    resolved, rng = design.priors(priors), np.random.default_rng(seed)
    before = _prior_draws(design, resolved, draws, rng)
    groups = {
        "prior": before,
        "prior_predictive": _predicted(before, design, rng).assign_attrs(_SAID["prior_predictive"]),
        "observed_data": _by_record(design, design.response[None, None] + design.offset, ()).squeeze(drop=True),
    }
    return assemble_prior(groups, ModelRecord.of(design, resolved), seed)


def records_of(tree: xr.DataTree, design: Design, group: str = "posterior_predictive") -> xr.DataArray:
    """Observed variables of the missing patterns of a sampled PyMC model as one, in the units of the data.

    ``build_model(design, effects="sampled")`` has an observed variable for each set of traits that were recorded
    together; this puts what ``pm.sample_posterior_predictive`` or ``pm.sample_prior_predictive`` drew of them together.

    Parameters
    ----------
    tree
        What PyMC returned.
    design
        The design.
    group
        The group to read.

    Returns
    -------
    DataArray
        (chain, draw, unit, trait), NaN where a trait was not recorded.

    Raises
    ------
    SpecError
        If the group is absent, or lacks the records of a pattern.
    """
    from bayesmv.pymc_model.hierarchical import record_classes, records_name

    if group not in tree.children:
        raise SpecError(f"there is no group '{group}'; groups: {', '.join(map(str, tree.children))}")
    dataset = tree[group].to_dataset()
    shape = dataset.sizes[dims.CHAIN], dataset.sizes[dims.DRAW]
    out = np.full((*shape, *design.observed.shape), np.nan)
    for traits, residual_group, units in record_classes(design):
        name = records_name(design, traits, residual_group)
        require_known([name], [str(v) for v in dataset.data_vars], f"the group '{group}' lacks {{}}; variables")
        root = np.sqrt(design.residual.weights)[units, None]
        values = dataset[name].to_numpy() / root
        out[:, :, units[:, None], traits[None, :]] = values
    fitted = design.fixed.fitted + design.offset
    labels = {dims.UNIT: [str(u) for u in design.units], dims.TRAIT: list(design.traits)}
    coords = {d: dataset[d] for d in (dims.CHAIN, dims.DRAW)} | labels
    return xr.DataArray(out * design.scale + fitted, coords, (dims.CHAIN, dims.DRAW, dims.UNIT, dims.TRAIT))

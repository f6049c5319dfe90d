"""One way to read results: a REML fit, a posterior, or (to come) an import, as `Estimates`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial, singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import sparse

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.effect_layout import EffectLayout
from bayesmv.design.elsewhere import Combinations
from bayesmv.design.model_record import ModelRecord
from bayesmv.design.random import TermDesign
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import GeneticParameter
from bayesmv.estimates.points import (
    Combined,
    Compute,
    Point,
    combined_at,
    drawn_point,
    pointwise,
    root_of,
    slopes,
    trait_means,
)
from bayesmv.likelihood.choose import APPROXIMATE
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.model.genetic import Genetic
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.reml.blup import blup
from bayesmv.reml.delta import LOST
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.convergence import draw_statistics
from bayesmv.sampling.effects import effect_moments, kept_levels
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.trace import axis_labels, drawn_group, draws_of, picked_draws, scaled_draws, unidentified_of

#: Probability of the highest-density intervals.
HDI = 0.95

#: What is said where no genetic term is known.
WHICH_GENETIC = "which term is genetic? give genetic='Family', relationship='half-sib', or a [genetic] table"
#: Most draws for which means and effects are drawn, unless more are asked for.
_DEAR = 400
#: Draws of linear combinations from their exact distribution given each draw of the covariances.
PER_DRAW = 5


class Estimates(ABC):
    """Estimates of the covariance matrices of a model, however they were made.

    A source of estimates says of what model and data it is (`record`, of which names, traits, effects, structures,
    layouts, priors and the genetic term are asked), and gives

    - `components`, its table of variances and covariances;
    - `covariances`, the matrices in the units of the data, with whatever leading dimensions it has: none for a point
      estimate, (chains, draws) for a posterior;
    - `evaluate`, the table of any functions of them, with its kind of uncertainty, what rests on directions that the
      data do not identify marked so;
    - `summarise`, the same of an array of values (chains, draws) that were computed from it;
    - `correlations`, `loadings` and `effects` of one term;
    - `combine`, of linear combinations of fixed and random effects: what predictions and contrasts are.

    To add one, subclass this and register the class of what is read with :func:`estimates_of`; tables, comparisons,
    curves and reports then read it.
    """

    record: ModelRecord

    #: The REML fit that the estimates are of, which has a likelihood; None for others.
    fit: RemlFit | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the covariance matrices, the residual last."""
        return self.record.names

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""
        return self.record.traits

    @property
    def layouts(self) -> Mapping[str, EffectLayout]:
        """Layouts of the effects of each random term, and of grouped residuals, in a record."""
        return self.record.layouts

    def records_per_level(self, term: str) -> Array | None:
        """Harmonic mean number of records of each trait per level of a random term, (t,); None for others."""
        known = self.record.records_per_level
        return np.asarray(known[term]) if term in known else None

    def genetic(self, genetic: str | Genetic | None = None, relationship: str | None = None) -> Genetic:
        """Genetic term that is asked for, or the one that the model states.

        Raises
        ------
        SpecError
            If none is asked for and the model states none.
        """
        stated = self.record.genetic
        if isinstance(genetic, Genetic):
            return genetic
        if genetic is None and stated is None:
            raise SpecError(WHICH_GENETIC)
        term = genetic if genetic is not None else stated.term if stated is not None else ""
        if relationship is None and stated is not None and stated.term == term:
            return stated
        return Genetic(term=term, relationship=relationship or "animal")

    @abstractmethod
    def components(self) -> pd.DataFrame:
        """Table of variances and covariances of all terms, in the units of the data."""

    @abstractmethod
    def covariances(self) -> Mapping[str, Array]:
        """Covariance matrices (…, m, m) in the units of the data, by name of the term."""

    @abstractmethod
    def evaluate(self, compute: Compute) -> pd.DataFrame:
        """Table of functions of the covariance matrices: parameter, trait_i, trait_j, their estimates, constraint."""

    @abstractmethod
    def derived(self, compute: Callable[[Point], Array], design: Design | None, max_draws: int | None) -> pd.DataFrame:
        """Table of functions (k,) of a point, a row each, in the columns of `evaluate`."""

    @abstractmethod
    def summarise(self, values: Array) -> dict[str, float]:
        """Columns of a table from values (chains, draws) of one quantity."""

    @abstractmethod
    def correlations(self, term: str) -> Array:
        """Correlations among the effects of a term, (m, m): the estimate, or the posterior medians."""

    @abstractmethod
    def loadings(self, term: str) -> tuple[Array, Array] | None:
        """Loadings (chains, draws, m, k) and specific variances (chains, draws, m), units of the data; None if none."""

    @abstractmethod
    def combine(self, combinations: Combinations, design: Design, max_draws: int, seed: int) -> Combined:
        """Estimates of linear combinations of the effects, and what is uncertain of them."""

    def fixed_moments(self, design: Design, max_draws: int) -> tuple[Array, Array, Array]:
        """Mean (p,), covariance (p, p) and draws (draws, p) of the fitted coefficients, over the sd of their traits."""
        present = design.fixed.present
        p = int(present.sum())
        each = Combinations(
            unit=np.ones(p),
            known=(design.fixed.ols / design.scale)[present],
            fixed=sparse.csr_array(sparse.eye_array(p)),
            random=(None,) * len(design.terms),
            estimable=np.ones(p, dtype=np.bool_),
        )
        found = self.combine(each, design, max_draws, 1)
        return found.value, found.covariance, np.zeros((0, p)) if found.draws is None else found.draws

    def at_mean(self, design: Design) -> RemlFit:
        """Fit that they are of; of a posterior the mixed-model equations at its mean covariances."""
        if self.fit is not None:
            return self.fit
        return blup(design, {name: draws.mean(axis=(0, 1)) for name, draws in self.covariances().items()})

    @abstractmethod
    def design_of(self, design: Design | None) -> Design:
        """Design of the estimates: their own, or the one given, which must be that.

        Raises
        ------
        SpecError
            If they hold none and none is given, or another is.
        """

    @abstractmethod
    def among_best(
        self, term: str, best: int, levels: npt.NDArray[np.intp], design: Design | None, max_draws: int
    ) -> Array:
        """Probability that each of some levels is among so many of them with the largest effects, (levels, effects)."""

    @abstractmethod
    def effects(self, term: str, *, design: Design | None = None, max_draws: int = 400) -> pd.DataFrame:
        """Predicted effects of the levels of a term; `design` and `max_draws` are for sources that hold none."""


@singledispatch
def estimates_of(source: Any) -> Estimates:
    """Estimates that a REML fit or a posterior holds.

    Raises
    ------
    TypeError
        If the source is neither.
    SpecError
        If it was saved without a record of its model.
    """
    raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")


@estimates_of.register
def _(source: Estimates) -> Estimates:
    return source


@estimates_of.register
def _(source: RemlFit) -> Estimates:
    return RemlEstimates(source)


@estimates_of.register
def _(source: xr.DataTree) -> Estimates:
    return PosteriorEstimates(source)


def describe(draws: Array) -> dict[str, float]:
    """Mean, median, sd, highest-density interval, effective sizes and R-hat of draws (chains, draws)."""
    flat = draws[np.isfinite(draws)]
    if not flat.size:
        return dict.fromkeys(("mean", "median", "sd", "hdi_low", "hdi_high"), np.nan) | draw_statistics(draws)
    low, high = shortest_interval(flat, HDI)
    return {
        "mean": float(flat.mean()),
        "median": float(np.median(flat)),
        "sd": np.nan if flat.size < 2 else float(flat.std(ddof=1)) if np.ptp(flat) else 0.0,
        "hdi_low": float(low),
        "hdi_high": float(high),
    } | draw_statistics(draws)


def _labels(parameter: GeneticParameter) -> dict[str, object]:
    return {"parameter": parameter.name, "trait_i": parameter.trait_i, "trait_j": parameter.trait_j}


@dataclass(frozen=True)
class RemlEstimates(Estimates):
    """Estimates of a REML fit: one value each, with standard errors by the delta method."""

    fit: RemlFit

    @property
    def record(self) -> ModelRecord:  # type: ignore[override]
        """Record of what was fitted."""
        return self.fit.record

    def components(self) -> pd.DataFrame:
        """The fit's own table."""
        return self.fit.varcomp

    def covariances(self) -> Mapping[str, Array]:
        """The estimates, (m, m)."""
        return self.fit.covariances

    def evaluate(self, compute: Compute) -> pd.DataFrame:
        """Estimates with standard errors, ``var g = g' V g``, g by central differences.

        A function that is not identified has no estimate, one that rests on a direction held on the boundary no error.
        """
        rows = []
        for parameter, value, gradient in slopes(self.fit.covariances, self.record.component_unit, compute):
            error, standing = self.fit.uncertainty.judge(gradient)
            estimate = np.nan if standing == "not identified" else value
            constraint = "unconstrained" if standing == "free" else standing
            rows.append({**_labels(parameter), "estimate": estimate, "std_error": error, "constraint": constraint})
        return pd.DataFrame(rows)

    def derived(self, compute: Callable[[Point], Array], design: Design | None, max_draws: int | None) -> pd.DataFrame:
        """Estimates with standard errors, ``g'Vg`` of the components and of the means, which are independent."""
        means, means_covariance = self._means(design)
        used: list[bool] = []

        def given(shift: Array | float = 0.0) -> Callable[[], Array]:
            def moved() -> Array:
                used.append(True)
                if means is None:
                    raise SpecError("a loaded fit holds no means; give design=, the one that was fitted")
                return np.asarray(means + shift)

            return moved

        found = slopes(self.fit.covariances, self.record.component_unit, pointwise(compute, given()))
        added = np.zeros(len(found))
        if used:
            step = 1e-6 * np.sqrt(np.diag(means_covariance))
            here = {name: S[None] for name, S in self.fit.covariances.items()}
            ends = [
                [np.array([p.draws[0] for p in pointwise(compute, given(e))(here)]) for e in (shift, -shift)]
                for shift in np.diag(step)
            ]
            by_mean = np.array([(up - down) / 2.0 for up, down in ends]) / step[:, None]
            added = np.einsum("ik,ij,jk->k", by_mean, means_covariance, by_mean)
        rows = []
        for (_, estimate, gradient), more in zip(found, added, strict=True):
            error, standing = self.fit.uncertainty.judge(gradient)
            if more and standing in ("free", "fixed"):
                error, standing = float(np.sqrt(error**2 + more)), "free"
            shown = np.nan if standing == "not identified" else estimate
            constraint = "unconstrained" if standing == "free" else standing
            rows.append({"estimate": shown, "std_error": error, "constraint": constraint})
        return pd.DataFrame(rows)

    def _means(self, design: Design | None) -> tuple[Array | None, Array]:
        """Means of the traits and their covariance; None for a loaded fit without a design."""
        try:
            own = self.design_of(design)
        except SpecError:
            if design is not None:
                raise
            return None, np.zeros((0, 0))
        found = self.combine(trait_means(own), own, 1, 1)
        return found.value, found.covariance

    def summarise(self, values: Array) -> dict[str, float]:
        """The one value."""
        return {"estimate": float(values.squeeze())}

    def correlations(self, term: str) -> Array:
        """The estimates."""
        self.record.position(term)
        return self.fit.correlations[term]

    def loadings(self, term: str) -> tuple[Array, Array] | None:
        """The estimates, as one draw."""
        found = self.record.structure(term).loadings(self.fit.theta[self.record.parameters_of(term)])
        if found is None:
            return None
        unit = self.record.effect_scale(term)
        return (found[0] * unit[:, None])[None, None], (found[1] * unit**2)[None, None]

    def design_of(self, design: Design | None) -> Design:
        """The design of the fit, or the one given for a fit that was loaded."""
        if design is None:
            return self.fit.design
        self.record.require_same(ModelRecord.of(design), "the REML fit", "the design")
        return design

    def combine(self, combinations: Combinations, design: Design, max_draws: int, seed: int) -> Combined:
        """Best linear unbiased predictions, with the covariance of their errors."""
        # Of traits that are not Gaussian on the latent scale, in the approximation that was fitted.
        fitted = [each for each in APPROXIMATE if each.name == self.fit.engine_name]
        equations = fitted[0](design) if fitted else MixedModelLikelihood(design)
        value, covariance = combined_at(equations, self.fit.sigmas, combinations)
        return Combined(value=value, covariance=covariance)

    def among_best(
        self, term: str, best: int, levels: npt.NDArray[np.intp], design: Design | None, max_draws: int
    ) -> Array:
        """Refused: estimates have no distribution."""
        raise SpecError("a REML fit has no distribution of ranks; ask a posterior for the probability of being best")

    def effects(self, term: str, *, design: Design | None = None, max_draws: int = 400) -> pd.DataFrame:
        """BLUPs."""
        return self.fit.effects(term)


@dataclass(frozen=True)
class PosteriorEstimates(Estimates):
    """Estimates of a posterior: draws."""

    trace: xr.DataTree

    @cached_property
    def record(self) -> ModelRecord:  # type: ignore[override]
        """Record of what was sampled."""
        return ModelRecord.read(self.trace)

    def components(self) -> pd.DataFrame:
        """Summaries of the draws of all variances and covariances that are not identically zero."""
        sampled = [
            (name, int(i), int(j))
            for name, draws in self.covariances().items()
            for i, j in zip(*packed_rows(draws.shape[-1]), strict=True)
            if i == j or np.any(draws[..., i, j])
        ]

        def parts(covariances: Mapping[str, Array]) -> list[GeneticParameter]:
            labels = {name: self.record.effects_of(name) for name in covariances}
            return [
                GeneticParameter(name, labels[name][j], labels[name][i], covariances[name][..., i, j])
                for name, i, j in sampled
            ]

        return self.evaluate(parts).rename(columns={"parameter": "term"})

    def covariances(self) -> Mapping[str, Array]:
        """The draws, (chains, draws, m, m)."""
        return {name: draws_of(self.trace, dims.covariance_name(name)).to_numpy() for name in self.names}

    def evaluate(self, compute: Compute) -> pd.DataFrame:
        """Summaries of the draws; what the data do not identify is ``prior only``."""
        draws, unidentified = self.covariances(), unidentified_of(self.trace)
        values = compute(draws)
        silent = self._prior_only(draws, compute, unidentified) if unidentified.size else [False] * len(values)
        return pd.DataFrame(
            [
                {**_labels(p), **describe(p.draws), "constraint": "prior only" if no_data else ""}
                for p, no_data in zip(values, silent, strict=True)
            ]
        )

    def _prior_only(self, draws: Mapping[str, Array], compute: Compute, unidentified: Array) -> list[bool]:
        """Which functions move along directions that the data say nothing of, at the posterior means."""
        means = {name: values.mean(axis=(0, 1)) for name, values in draws.items()}
        unit = self.record.component_unit
        basis, _ = np.linalg.qr(unidentified)
        out = []
        for _, _, gradient in slopes(means, unit, compute):
            working = np.nan_to_num(gradient) * unit
            out.append(bool(np.linalg.norm(working @ basis) > LOST * np.linalg.norm(working)))
        return out

    def derived(self, compute: Callable[[Point], Array], design: Design | None, max_draws: int | None) -> pd.DataFrame:
        """Summaries over draws; means and effects are drawn from their exact distribution given the covariances."""
        draws = self.covariances()
        chains, n = next(iter(draws.values())).shape[:2]
        most = _DEAR if max_draws is None and design is not None else max_draws
        each = n if most is None else max(1, min(n, most // chains))
        picked = np.unique(np.linspace(0, n - 1, each).astype(int))
        values = [
            [compute(point) for point in self._points({m: D[chain] for m, D in draws.items()}, chain, picked, design)]
            for chain in range(chains)
        ]
        stacked, unidentified = np.array(values, dtype=float), unidentified_of(self.trace)
        silent = [False] * stacked.shape[-1]
        if unidentified.size:
            means = np.ones(len(self.traits))
            silent = self._prior_only(draws, pointwise(compute, lambda: means), unidentified)
        return pd.DataFrame(
            [
                {**describe(stacked[..., k]), "constraint": "prior only" if no_data else ""}
                for k, no_data in enumerate(silent)
            ]
        )

    def _points(self, draws: Mapping[str, Array], chain: int, picked: Array, design: Design | None) -> Iterator[Point]:
        """Some draws of a chain."""
        equations = None if design is None else MixedModelLikelihood.whole(self.design_of(design))
        rng = np.random.default_rng([1, chain])
        for draw in picked:
            at = {name: D[draw] for name, D in draws.items()}
            if design is None or equations is None:
                yield Point(covariances=at, means=self._no_means, effects=partial(self._held, chain, int(draw)))
                continue
            sigmas = [design.to_working_units(name, at[name]) for name in design.names]
            yield drawn_point(equations, design, at, sigmas, rng)

    def _no_means(self) -> Array:
        raise SpecError("means of a posterior are drawn from its design; give design=")

    def _held(self, chain: int, draw: int, term: str) -> Array:
        """Draw of the effects of a term that the posterior holds."""
        name = dims.effect_name(term)
        if name not in drawn_group(self.trace):
            raise SpecError(f"the posterior holds no effects of '{term}'; give design=")
        return np.asarray(draws_of(self.trace, name).to_numpy()[chain, draw])

    def summarise(self, values: Array) -> dict[str, float]:
        """Summary of the draws."""
        return describe(values)

    def correlations(self, term: str) -> Array:
        """Posterior medians."""
        self.record.position(term)
        return np.asarray(np.nanmedian(draws_of(self.trace, dims.correlation_name(term)).to_numpy(), axis=(0, 1)))

    def loadings(self, term: str) -> tuple[Array, Array] | None:
        """The draws."""
        self.record.position(term)
        if dims.loading_name(term) not in drawn_group(self.trace):
            return None
        names = dims.loading_name(term), dims.specific_name(term)
        loadings, specific = (draws_of(self.trace, name).to_numpy() for name in names)
        return loadings, specific

    def design_of(self, design: Design | None) -> Design:
        """The design that is given."""
        if design is None:
            raise SpecError("a posterior holds no design; give design=, the one that was sampled")
        self.record.require_same(ModelRecord.of(design), "the posterior", "the design")
        return design

    def combine(self, combinations: Combinations, design: Design, max_draws: int, seed: int) -> Combined:
        """Posterior mean and covariance, accumulated over draws of Σ, and draws: some of each N(E, var | Σ).

        Where traits are not Gaussian, effects have no such distribution: they are those that were drawn with Σ.
        """
        if not design.gaussian:
            return self._of_drawn_effects(combinations, design, max_draws, seed)
        equations, rng = MixedModelLikelihood(design), np.random.default_rng(seed)
        given = [combined_at(equations, S, combinations) for S in scaled_draws(self.trace, design, max_draws)]
        values, within = np.array([v for v, _ in given]), np.mean([V for _, V in given], axis=0)
        draws = [v[:, None] + root_of(V) @ rng.standard_normal((len(v), PER_DRAW)) for v, V in given]
        centred = values - values.mean(axis=0)
        between = centred.T @ centred / max(len(values) - 1, 1)
        return Combined(value=values.mean(axis=0), covariance=within + between, draws=np.concatenate(draws, axis=1).T)

    def _of_drawn_effects(self, combinations: Combinations, design: Design, max_draws: int, seed: int) -> Combined:
        sigmas, rng = scaled_draws(self.trace, design, max_draws), np.random.default_rng(seed)
        fixed = self.fixed_draws(design, max_draws)
        values = fixed[:, design.fixed.present] @ combinations.fixed.T
        for term, weights in zip(design.terms, combinations.random, strict=True):
            if weights is not None and weights.nnz:
                values = values + self._drawn_effects(term, weights, design, max_draws)
        if combinations.new:
            added = [root_of(combinations.added_variance(S)) for S in sigmas]
            values = values + np.array([F @ rng.standard_normal(len(F)) for F in added])
        draws = combinations.known + combinations.unit * values
        return Combined(value=draws.mean(axis=0), covariance=np.atleast_2d(np.cov(draws.T)), draws=draws)

    def fixed_draws(self, design: Design, max_draws: int) -> Array:
        """Drawn fixed effects beyond the least-squares fit, in working units, (draws, v, t); 0 where there are none."""
        drawn, present = self._picked(dims.FIXED, max_draws), design.fixed.present
        out = np.zeros((len(drawn), *present.shape))
        out[:, present] = drawn
        return np.where(present, (out - design.fixed.ols) / design.scale, 0.0)

    def _drawn_effects(self, term: TermDesign, weights: sparse.csr_array, design: Design, max_draws: int) -> Array:
        """Sums of the drawn effects of a term in working units, (draws, k)."""
        name = dims.effect_name(term.name)
        q, m = len(term.levels), len(term.effects)
        column = kept_levels(drawn_group(self.trace), term, np.unique(weights.indices // m))
        effects = np.zeros((len(picked_draws(self.n_draws, max_draws)), q, m))
        effects[:, column] = self._picked(name, max_draws) / design.effect_scale(term.name)
        return np.asarray((weights @ effects.reshape(len(effects), -1).T).T)

    def _picked(self, name: str, max_draws: int) -> Array:
        """At most so many evenly spaced draws of a variable, (draws, …)."""
        flat = draws_of(self.trace, name).to_numpy().reshape(self.n_draws, *draws_of(self.trace, name).shape[2:])
        return np.asarray(flat[picked_draws(self.n_draws, max_draws)])

    @property
    def n_draws(self) -> int:
        """Number of draws of all chains."""
        group = drawn_group(self.trace)
        return int(group.sizes[dims.CHAIN] * group.sizes[dims.DRAW])

    def effects(self, term: str, *, design: Design | None = None, max_draws: int = 400) -> pd.DataFrame:
        """Summaries of the draws of effects; of their moments, accumulated over draws of Σ, where a design is given."""
        if design is not None:
            return self._accumulated(term, design, max_draws)
        name = dims.effect_name(term)
        if name not in drawn_group(self.trace):
            raise SpecError(
                f"the posterior holds no effects of '{term}'; give design=…, or sample again with effects=['{term}']"
            )
        draws = draws_of(self.trace, name)
        flat = draws.to_numpy().reshape(-1, *draws.shape[2:])
        low, high = shortest_interval(flat, HDI)
        columns = {"mean": flat.mean(axis=0), "sd": flat.std(axis=0, ddof=1), "hdi_low": low, "hdi_high": high}
        return _by_level(axis_labels(draws, 2), axis_labels(draws, 3), columns)

    def among_best(
        self, term: str, best: int, levels: npt.NDArray[np.intp], design: Design | None, max_draws: int
    ) -> Array:
        """Share of draws, those that the posterior holds, or one of all effects given each of the covariances."""
        counts = np.zeros((len(levels), len(self.record.effects_of(term))))
        total = 0
        for drawn in self._effect_draws(term, design, max_draws):
            values, total = drawn[levels], total + 1
            limit = np.partition(values, len(values) - best, axis=0)[len(values) - best]
            counts += values >= limit
        return counts / max(total, 1)

    def _effect_draws(self, term: str, design: Design | None, max_draws: int) -> Iterator[Array]:
        """Draws of the effects of all levels of a term, (levels, effects)."""
        if design is None:
            draws = draws_of(self.trace, dims.effect_name(term)).to_numpy()
            yield from draws.reshape(-1, *draws.shape[2:])
            return
        equations, rng = MixedModelLikelihood.whole(design), np.random.default_rng(1)
        k, unit = design.position(term), design.effect_scale(term)
        for sigmas in scaled_draws(self.trace, design, max_draws):
            yield equations.draw(sigmas, rng).random[k] * unit

    def _accumulated(self, term: str, design: Design, max_draws: int) -> pd.DataFrame:
        part = design.term(term)
        mean, variance, prior = effect_moments(design, scaled_draws(self.trace, design, max_draws), term)
        reliability = 1.0 - variance / prior
        columns = {"mean": mean, "sd": np.sqrt(variance), "reliability": reliability}
        columns["accuracy"] = np.sqrt(np.maximum(reliability, 0.0))
        return _by_level(part.levels, part.effects, columns)


def _by_level(levels: Any, effects: Any, columns: Mapping[str, Array]) -> pd.DataFrame:
    """Long table of (levels, effects) arrays."""
    labels = {"level": np.repeat(np.asarray(levels), len(effects)), "trait": np.tile(np.asarray(effects), len(levels))}
    return pd.DataFrame(labels | {name: values.reshape(-1) for name, values in columns.items()})

"""Posterior predictive checks of what matters in animal models: families, relatives, extremes, missing records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array, BoolArray, IntArray
from bayesmv.comparison.predictive import block_labels
from bayesmv.design.design import Design, TermDesign
from bayesmv.errors import SpecError
from bayesmv.estimates.source import HDI, PosteriorEstimates
from bayesmv.families.declared import Binomial, Censored, Family, Ordered
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.numerics.progress import watched
from bayesmv.relationship.relationship import Relationship
from bayesmv.sampling.ess import shortest_interval
from bayesmv.sampling.trace import drawn_group, families_of, picked_draws, scaled_draws
from bayesmv.simulation.simulate import simulate_from

#: Classes of relatives, by their relationship, and its name.
_CLASSES = ((0.2, 0.3, "half sibs and the like (1/4)"), (0.45, 0.55, "parents, full sibs (1/2)"))
#: Fewest levels with several records, pairs of relatives, and records with and without another trait, of a statistic.
_FEWEST_LEVELS, _FEWEST_PAIRS, _FEWEST_MISSING = 3, 30, 5
#: Most individuals among whom pairs of relatives are sought.
_RELATED = 3000


def predictive_checks(trace: xr.DataTree, design: Design, *, max_draws: int = 200, seed: int = 1) -> pd.DataFrame:
    """Statistics of the data beside those of records that the model predicts.

    For each draw of the covariances, new effects and records are drawn on the layout of the data, with fixed effects
    from their conditional distribution; the same cells are missing. Statistics of residuals from the least-squares fit:

    - **variance of means** of the levels of each random term with several records a level;
    - **correlation of relatives** by class of relationship, for terms with a relationship;
    - **least and largest** record, in phenotypic standard deviations, and **skewness** and **kurtosis**;
    - **correlation of traits** within units;
    - **difference by recording**: mean of a trait where another trait is missing less where it is recorded, which is
      beyond chance where records are missing because of their values.

    Where traits are not Gaussian, fixed effects and thresholds are those that were drawn with the covariances, and the
    statistics are of records: the **share** of every class, of counts their **mean**, **share of zeros** and
    **dispersion** (variance over mean), which is above what is predicted where the family is too narrow. Of censored
    traits there are none: how records that are predicted would have been censored is not known.

    Parameters
    ----------
    trace
        From :func:`bayesmv.sample`.
    design
        The design that was sampled.
    max_draws
        Most draws of the covariances.
    seed
        Of the predicted records.

    Returns
    -------
    DataFrame
        check, trait, observed, predicted (mean), low, high (95 %), and p: the posterior predictive probability of a
        value as large, two-sided; small where the model does not make such data.

    Raises
    ------
    SpecError
        If the posterior is of another design.
    """
    statistics = _statistics(design) if design.gaussian else _of_records(design)
    if not statistics:
        raise SpecError(
            "there is nothing to check: no term has several records a level, or every trait is censored, of which "
            "it is not known how records that are predicted would have been censored"
        )
    rng = np.random.default_rng(seed)
    draws = scaled_draws(trace, design, max_draws)
    if design.gaussian:
        residuals, records = design.working_response, _residuals(design, draws, rng)
    else:
        residuals, records = np.where(design.observed, design.response, 0.0), _records(trace, design, draws, rng)
    observed = np.array([f(residuals) for _, _, f in statistics])
    each = watched(records, "Predicting records", len(draws))
    made = np.array([[f(np.where(design.observed, y, 0.0)) for _, _, f in statistics] for y in each])
    rows = []
    for k, (check, trait, _) in enumerate(statistics):
        values = made[:, k]
        low, high = shortest_interval(values, HDI)
        above, below = (values >= observed[k]).mean(), (values <= observed[k]).mean()
        rows.append((check, trait, observed[k], values.mean(), low, high, min(1.0, 2.0 * min(above, below))))
    return pd.DataFrame(rows, columns=["check", "trait", "observed", "predicted", "low", "high", "p"])


def _residuals(design: Design, draws: Sequence[Sequence[Array]], rng: np.random.Generator) -> Iterator[Array]:
    """Residuals of predicted records from least squares, phenotypic sd."""
    equations = MixedModelLikelihood.whole(design)
    for sigmas in draws:
        fixed = equations.draw(sigmas, rng).fixed
        yield (simulate_from(design, sigmas, rng, fixed) - design.offset - design.fixed.fitted) / design.scale


def _records(
    trace: xr.DataTree, design: Design, draws: Sequence[Sequence[Array]], rng: np.random.Generator
) -> Iterator[Array]:
    """Predicted records where traits are not Gaussian, at the fixed effects and thresholds of the draws."""
    estimates, posterior = PosteriorEstimates(trace), drawn_group(trace)
    coefficients = estimates.fixed_draws(design, len(draws))
    picked = picked_draws(estimates.n_draws, len(draws))
    n = posterior.sizes[dims.DRAW]
    for d, sigmas in enumerate(draws):
        at = divmod(int(picked[d]), n)
        yield simulate_from(design, sigmas, rng, coefficients[d], families_of(posterior, design, at))


def _of_records(design: Design) -> list[_Statistic]:
    """Statistics of records (n, t), 0 where not recorded."""
    out: list[_Statistic] = []
    for t, (trait, law) in enumerate(zip(design.traits, design.families, strict=True)):
        if isinstance(law, Censored):  # what is drawn is not censored, nor known how it would be
            continue
        seen = design.observed[:, t]
        out += [(word, trait, partial(_of_trait, f, seen, t)) for word, f in _of_family(law, design.response[seen, t])]
        for term in design.terms:
            out += [(word, trait, partial(_centred, f, seen, t)) for word, f in _of_term(design, term, seen, t)]
    censored = any(isinstance(law, Censored) for law in design.families)
    return out if censored else out + _between_traits(design)


def _of_family(law: Family, y: Array) -> list[tuple[str, Callable[[Array], float]]]:
    """Statistics of the records of a trait."""
    if isinstance(law, Ordered) or (isinstance(law, Binomial) and y.max() <= 1.0):
        classes = np.unique(y)[-1:] if isinstance(law, Binomial) else np.unique(y)
        return [(f"share of {value:g}", partial(_share, float(value))) for value in classes]
    mean: tuple[str, Callable[[Array], float]] = ("mean", lambda y: float(y.mean()))
    if law.linear:
        return [mean, ("least record", lambda y: float(y.min())), ("largest record", lambda y: float(y.max()))]
    dispersion: tuple[str, Callable[[Array], float]] = (
        "dispersion",
        lambda y: float(y.var(ddof=1) / max(y.mean(), 1e-300)),
    )
    return [mean, ("share of 0", partial(_share, 0.0)), dispersion, ("largest record", lambda y: float(y.max()))]


def _share(value: float, y: Array) -> float:
    return float((y == value).mean())


def _of_trait(f: Callable[[Array], float], seen: BoolArray, t: int, y: Array) -> float:
    return f(y[seen, t])


def _centred(f: Callable[[Array], float], seen: BoolArray, t: int, y: Array) -> float:
    """Statistic of the records of a trait less their mean."""
    y = y.copy()
    y[seen, t] -= y[seen, t].mean()
    return f(y)


#: Name of a check, the trait, and the statistic of residuals or records (n, t).
type _Statistic = tuple[str, str, Callable[[Array], float]]


def _statistics(design: Design) -> list[_Statistic]:
    """Statistics of residuals (n, t) from least squares, phenotypic sd, 0 where not recorded."""
    out: list[_Statistic] = []
    for t, trait in enumerate(design.traits):
        seen = design.observed[:, t]
        for term in design.terms:
            out += [(word, trait, f) for word, f in _of_term(design, term, seen, t)]
        out += [
            ("least record", trait, partial(_extreme, np.min, seen, t)),
            ("largest record", trait, partial(_extreme, np.max, seen, t)),
            ("skewness", trait, partial(_moment, 3, seen, t)),
            ("kurtosis", trait, partial(_moment, 4, seen, t)),
        ]
    return out + _between_traits(design)


def _of_term(design: Design, term: TermDesign, seen: BoolArray, t: int) -> list[tuple[str, Callable[[Array], float]]]:
    """Statistics of the levels of a term, where each unit bears on one of them."""
    try:
        _, labels = block_labels(design, term.name)
    except SpecError:
        return []
    out: list[tuple[str, Callable[[Array], float]]] = []
    codes = np.asarray(pd.factorize(labels)[0], dtype=np.int64)
    mine = seen & (codes >= 0)
    counts = np.bincount(codes[mine], minlength=int(codes.max()) + 1)
    if (counts > 1).sum() >= _FEWEST_LEVELS:
        out.append((f"variance of the means of {term.name}", partial(_variance_of_means, codes, mine, counts, t)))
    return out if term.relationship is None else out + _relatives(term.relationship, labels, mine, t)


def _extreme(which: Callable[[Array], float], seen: BoolArray, t: int, y: Array) -> float:
    return float(which(y[seen, t]))


def _moment(power: int, seen: BoolArray, t: int, y: Array) -> float:
    x = y[seen, t]
    return float(np.mean(((x - x.mean()) / x.std()) ** power))


def _variance_of_means(codes: IntArray, mine: BoolArray, counts: IntArray, t: int, y: Array) -> float:
    """Variance of the means of the levels with several records."""
    sums = np.bincount(codes[mine], weights=y[mine, t], minlength=len(counts))
    return float(np.var((sums / np.maximum(counts, 1))[counts > 1], ddof=1))


def _relatives(
    related: Relationship, labels: pd.Series, mine: BoolArray, t: int
) -> list[tuple[str, Callable[[Array], float]]]:
    """Correlation of pairs of records of relatives, by class."""
    units = np.flatnonzero(mine)
    if len(units) > _RELATED:
        units = units[np.unique(np.linspace(0, len(units) - 1, _RELATED).astype(int))]
    names, place = np.unique(labels.iloc[units].to_numpy(), return_inverse=True)
    K = related.covariance(names).to_numpy()
    K = (K / np.sqrt(np.outer(np.diag(K), np.diag(K))))[np.ix_(place, place)]
    out: list[tuple[str, Callable[[Array], float]]] = []
    for low, high, word in _CLASSES:
        i, j = np.nonzero(np.triu((low < K) & (high > K), 1))
        if len(i) >= _FEWEST_PAIRS:
            out.append((f"correlation of {word}", partial(_pair_correlation, units[i], units[j], mine, t)))
    return out


def _pair_correlation(first: IntArray, second: IntArray, mine: BoolArray, t: int, y: Array) -> float:
    return float(np.mean(y[first, t] * y[second, t]) / np.mean(y[mine, t] ** 2))


def _between_traits(design: Design) -> list[_Statistic]:
    """Correlations of two traits within units, and differences of one by whether the other is missing."""
    out: list[_Statistic] = []
    seen = design.observed
    for a, b in permutations(range(len(design.traits)), 2):
        one, other = design.traits[a], design.traits[b]
        both, alone = seen[:, a] & seen[:, b], seen[:, a] & ~seen[:, b]
        if a < b and both.sum() > 2:
            out.append(("correlation of records", f"{one}, {other}", partial(_record_correlation, both, a, b)))
        if min(alone.sum(), both.sum()) >= _FEWEST_MISSING:
            out.append((f"difference where {other} is missing", one, partial(_mean_difference, alone, both, a)))
    return out


def _record_correlation(both: BoolArray, a: int, b: int, y: Array) -> float:
    return float(np.corrcoef(y[both, a], y[both, b])[0, 1])


def _mean_difference(alone: BoolArray, both: BoolArray, a: int, y: Array) -> float:
    return float(y[alone, a].mean() - y[both, a].mean())

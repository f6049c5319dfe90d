"""Published answers, where they are, the fits that reproduce them, and the tolerance that each source allows.

Sets whose licences allow it stand in ``tests/reference/data``; the others are read from ``shared/data`` beside the
project where that is there. A test that needs a set says so, ``@pytest.mark.published("gryphon")``: it is skipped where
the set is absent, and the last lines of a run count it (``tests/conftest.py``).

A row of ``answers.csv`` is reproduced when it differs by no more than **half a unit of its last printed digit** plus
what its source's own stopping rule left undone (`Stop`), in standard errors of the estimate.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv

ROOT = Path(__file__).resolve().parents[2]
#: Folders that may hold a published set, the first that has it counts.
HOMES = (ROOT / "tests" / "reference" / "data", ROOT.parent / "shared" / "data")
#: Numbers of textbooks, typed in `textbooks`: always here.
TYPED = ("mrode", "pedigrees_small")


class Stop(NamedTuple):
    """How far from the maximum a source stopped: estimates and their errors in s.e., log-likelihoods in units of l."""

    estimate: float
    error: float
    loglik: float = 0.0


#: ASReml stops when l rises by less than 0.002 and no component moves by 1 %. What that leaves is seen where two runs
#: of one model were printed: VA_bwt 3.368397 and 3.368449, 8e-5 s.e. apart. The bounds were set after seeing how far
#: printed values are from ours (5.8e-5 s.e., 4.2e-5 in a likelihood ratio); `step_left` shows on whose side that lies.
ASREML = Stop(1e-4, 1e-4, 1e-4)
#: The first run of the simple bivariate model (Wilson et al. 2010), an older ASReml: up to 1.7e-4 s.e. from the second.
WILSON = Stop(2e-4, 2e-4)
#: Independent AI-REML and L-BFGS runs of the data's collector; digits beyond 1e-4 s.e. are not those of a maximum.
COMPUTED = Stop(1e-4, 1e-4)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row of ``answers.csv``, or its standard error as a row of its own."""

    model: str
    quantity: str
    text: str
    kind: str
    source: str
    interval: tuple[float, float] | None = None
    is_error: bool = False

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last digit printed."""
        return half_unit(self.text)


class Found(NamedTuple):
    """Our value of a quantity, and its standard error."""

    value: float
    error: float = np.nan


def half_unit(text: str) -> float:
    """Half a unit of the last digit of a printed number.

    >>> half_unit("-1247.183"), half_unit("3545000000.0")
    (0.0005, 0.05)
    """
    mantissa, _, exponent = text.lower().partition("e")
    return 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def find(dataset: str) -> Path | None:
    """Folder of a published set, None where it is absent."""
    return next((home / dataset for home in HOMES if (home / dataset).is_dir()), None)


def absent(dataset: str) -> str:
    """Why a test of a set that is absent is skipped; empty where the set is there."""
    if dataset in TYPED or find(dataset) is not None:
        return ""
    return f"the published set '{dataset}' is in none of {', '.join(str(home) for home in HOMES)}"


def folder(dataset: str) -> Path:
    """Folder of a published set; skips the test where it is absent."""
    found = find(dataset)
    if found is None:
        pytest.skip(absent(dataset))
    return found


@cache
def answers(dataset: str) -> tuple[Answer, ...]:
    """All rows of a data set, each standard error as a row of its own; none where the data are absent."""
    home = find(dataset)
    if home is None:
        return ()
    with (home / "answers.csv").open(encoding="utf-8") as file:
        return tuple(answer for row in csv.DictReader(file) for answer in _read(row))


def _read(row: Mapping[str, str]) -> Iterable[Answer]:
    common = {key: row[key] for key in ("model", "quantity", "kind", "source")}
    interval = (float(row["lower"]), float(row["upper"])) if row["lower"] else None
    if row["value"] or interval:
        yield Answer(**common, text=row["value"] or "nan", interval=interval)
    if row["se"] and not row["kind"].endswith("_posterior"):
        yield Answer(**common, text=row["se"], is_error=True)


@cache
def table(dataset: str) -> pd.DataFrame:
    """The records."""
    return pd.read_csv(folder(dataset) / "data.csv")


@cache
def pedigree(dataset: str) -> bmv.Pedigree:
    """The pedigree."""
    return bmv.Pedigree.from_frame(pd.read_csv(folder(dataset) / "pedigree.csv"))


@cache
def relationships(dataset: str) -> dict[str, bmv.Relationship]:
    """The relationship matrix "A" of a data set: of its pedigree, or the matrix given with it."""
    given = folder(dataset) / "A_relationship.csv.gz"
    if given.is_file():
        matrix = pd.read_csv(given, header=None).to_numpy()
        return {"A": bmv.Relationship.from_covariance(matrix, table(dataset)["line"])}
    return {"A": bmv.Relationship.from_pedigree(pedigree(dataset))}


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A published model: how bayesmv says it, and where each published quantity is found in the fit.

    Parameters
    ----------
    label
        Short name, for test ids.
    dataset, formula, random
        The fit.
    components
        Quantity → (term, trait_i, trait_j).
    fixed
        Quantity → (trait, effect).
    others
        Further quantities of a fit.
    stop
        What the source's stopping rule leaves undone.
    complete
        Only records of all traits, as the source did.
    """

    label: str
    dataset: str
    formula: str
    random: str
    components: Mapping[str, tuple[str, str, str]]
    fixed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    others: Callable[[bmv.RemlFit], dict[str, Found]] = lambda fit: {}
    stop: Stop = COMPUTED
    complete: bool = False

    @property
    def traits(self) -> list[str]:
        return [trait.strip() for trait in self.formula.split("~")[0].split("+")]

    @property
    def fit(self) -> bmv.RemlFit:
        """The REML fit; one run for all tests that share it."""
        return run(self.dataset, self.formula, self.random, self.complete)

    @property
    def found(self) -> dict[str, Found]:
        """Our value of every quantity."""
        return _found(self)


@cache
def run(dataset: str, formula: str, random: str, complete: bool = False) -> bmv.RemlFit:
    """Fit a model once."""
    data = table(dataset)
    spec = bmv.ModelSpec.from_formula(formula, random=random)
    data = data.dropna(subset=list(spec.traits)) if complete else data
    given = relationships(dataset) if "vm(" in random else {}
    return bmv.fit_reml(bmv.build_design(spec, data, relationships=given))


@cache
def _found(model: Model) -> dict[str, Found]:
    fit = model.fit
    out = {"logLik_REML": Found(asreml_loglik(fit)), "logLik_REML(lme4, with 2pi)": Found(fit.loglik)}
    rows = fit.varcomp.set_index(["term", "trait_i", "trait_j"])
    for quantity, place in model.components.items():
        out[quantity] = Found(rows.loc[place, "component"], rows.loc[place, "std_error"])
    effects = fit.fixed.set_index(["trait", "effect"])
    for quantity, place in model.fixed.items():
        out[quantity] = Found(effects.loc[place, "estimate"], effects.loc[place, "std_error"])
    return out | model.others(fit)


def asreml_loglik(fit: bmv.RemlFit) -> float:
    """l without its constant, as ASReml prints it."""
    free = fit.design.n_records - int(fit.design.fixed.present.sum())
    return fit.loglik + 0.5 * free * np.log(2 * np.pi)


def parameter(fit: bmv.RemlFit, genetic: str, name: str, *traits: str) -> Found:
    """A genetic parameter with its delta-method error; "genetic correlation" is that of whichever term is named."""
    rows = bmv.genetic_parameters(fit, genetic=genetic).set_index(["parameter", "trait_i", "trait_j"])
    row = rows.loc[(name, traits[0], traits[-1])]
    return Found(row["estimate"], row["std_error"])


def correlation(fit: bmv.RemlFit, term: str, *traits: str) -> Found:
    """Correlation of two traits in a term or the residual."""
    if term == "Residual":
        return parameter(fit, fit.design.terms[0].name, "residual correlation", *traits)
    return parameter(fit, term, "genetic correlation", *traits)


def cases(
    dataset: str,
    models: Mapping[str, Model],
    skipped: Mapping[str, str],
    *,
    kinds: Iterable[str] | None = None,
    slow: Iterable[Model] = (),
) -> list[object]:
    """Every answer of a data set with its model, for `pytest.mark.parametrize`.

    Parameters
    ----------
    dataset
        Folder of the data.
    models
        Model by the name that ``answers.csv`` gives it.
    skipped
        Model, or quantity, → why it is left out. An answer that is neither in `models` nor here fails.
    kinds
        Only answers of these kinds.
    slow
        Models that take seconds to fit.
    """
    slow = set(slow)
    needed = pytest.mark.published(dataset)
    if not answers(dataset):
        return [pytest.param(None, None, id="absent", marks=needed)]
    out, seen = [], dict[str, int]()
    for answer in answers(dataset):
        if kinds is not None and answer.kind not in kinds:
            continue
        reason = skipped.get(answer.model) or skipped.get(answer.quantity)
        model = None if reason else models[answer.model]
        marks = [needed, *([pytest.mark.skip(reason)] if reason else [pytest.mark.slow] if model in slow else [])]
        name = f"{model.label if model else answer.model[:40]}-{answer.quantity}{'-se' * answer.is_error}"
        seen[name] = seen.get(name, 0) + 1
        out.append(pytest.param(model, answer, marks=marks, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return out


def tolerance(model: Model, answer: Answer, found: Found) -> float:
    """Half a unit of the last digit, and what the source's stopping rule leaves undone."""
    if "logL" in answer.quantity or "LRT" in answer.quantity:
        return answer.half_unit + (model.stop.loglik if "LRT" in answer.quantity else 0.0)
    stop = WILSON if "spaMM" in answer.source else model.stop
    left = stop.error if answer.is_error else stop.estimate
    return answer.half_unit + (left * found.error if np.isfinite(found.error) else 0.0)


def check(model: Model, answer: Answer) -> None:
    """Hold our value to one answer: a posterior's interval holds it, another program's value is reproduced."""
    found = model.found[answer.quantity]
    if answer.kind == "published_posterior":
        check_interval(answer, found)
        return
    ours = found.error if answer.is_error else found.value
    assert ours == pytest.approx(answer.value, abs=tolerance(model, answer, found), rel=0)


def check_interval(answer: Answer, found: Found) -> None:
    """A posterior under another prior, often of a short chain: loosely, its 95 % interval holds the REML estimate."""
    if answer.interval is None:
        pytest.skip("a posterior's mean or mode without an interval, of a short chain under another prior")
    low, high = answer.interval
    assert low <= found.value <= high


def published_covariances(model: Model, name: str) -> dict[str, np.ndarray]:
    """Covariance matrices of all terms as published; the first source where there are several."""
    values = {a.quantity: a.value for a in reversed(answers(model.dataset)) if a.model == name and not a.is_error}
    design = model.fit.design
    out = {term: np.zeros((len(design.effects_of(term)),) * 2) for term in design.names}
    for quantity, (term, a, b) in model.components.items():
        i, j = (design.effects_of(term).index(trait) for trait in (a, b))
        out[term][i, j] = out[term][j, i] = values[quantity]
    return out


def shortfall(model: Model, name: str) -> float:
    """By how much l at the published covariances is below ours."""
    return model.fit.loglik - bmv.blup(model.fit.design, published_covariances(model, name)).loglik


def step_left(fit: bmv.RemlFit, covariances: Mapping[str, np.ndarray]) -> float:
    """Length of the step to the maximum that remains at some covariances, in s.e.: ``(g' AI⁻¹ g)^½``."""
    there = bmv.blup(fit.design, covariances)
    J = fit.design.blocks.jacobian(there.theta)
    information = J.T @ fit.engine.average_information(there.sigmas) @ J
    return float(np.sqrt(abs(there.gradient @ np.linalg.pinv(information, hermitian=True) @ there.gradient)))


def check_maximum(model: Model, name: str, gap: float) -> None:
    """The maximum is ours: l at the published components is no higher, and a longer step to the maximum remains there.

    The step left at the published point is what separates the two answers, so it bounds the digits worth comparing.
    """
    ours = step_left(model.fit, model.fit.covariances)
    theirs = step_left(model.fit, published_covariances(model, name))
    assert ours < 1e-6
    assert ours < theirs < 2.0 * model.stop.estimate
    assert -1e-8 <= shortfall(model, name) < gap


def models_with_components(models: Mapping[str, Model], kinds: Iterable[str]) -> list[object]:
    """Models whose covariances were all published, for `pytest.mark.parametrize`."""
    datasets = dict.fromkeys(m.dataset for m in models.values())
    names = {a.model for d in datasets for a in answers(d) if a.kind in kinds}
    gone = [
        pytest.param(None, None, id=f"{d}-absent", marks=pytest.mark.published(d)) for d in datasets if not answers(d)
    ]
    there = [(name, m) for name, m in models.items() if name in names]
    return gone + [pytest.param(m, name, id=m.label, marks=pytest.mark.published(m.dataset)) for name, m in there]

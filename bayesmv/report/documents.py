"""Documents of the commands: what each has to say of its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from bayesmv.checks.cost import Outlook
from bayesmv.checks.identifiability import TermInformation
from bayesmv.checks.relationships import relationship_information
from bayesmv.comparison.programs import compare_programs
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.design import Design
from bayesmv.estimates.components import variance_components
from bayesmv.estimates.family_numbers import family_numbers
from bayesmv.estimates.pairwise import Pairwise
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.prediction import PAIRED, Prediction
from bayesmv.estimates.profile import profile_intervals
from bayesmv.estimates.source import estimates_of
from bayesmv.estimates.trajectory import Points, trajectory
from bayesmv.model.spec import ModelSpec
from bayesmv.reml.result import RemlFit
from bayesmv.report.document import Column, Document, Line, Picture, Section, Table
from bayesmv.report.tables import (
    comparison_table,
    differences_table,
    effects_table,
    expected_table,
    fixed_table,
    information_table,
    legend,
    lsd_table,
    models_table,
    pairs_table,
    parameter_table,
    plan_table,
    prediction_table,
    prior_sets_table,
    prior_table,
    profile_table,
    programs_table,
    relationships_table,
    study_table,
    traits_table,
    trajectory_table,
    trial_table,
    varcomp_table,
    wald_table,
    word_column,
)
from bayesmv.sampling.convergence import RHAT_LIMIT, Convergence, convergence
from bayesmv.sampling.trace import was_interrupted

#: Tables of the document of each command, by which ``--table`` asks for one.
TABLES: dict[str, tuple[str, ...]] = {
    "check": ("traits", "terms", "relationships"),
    "reml": ("varcomp", "fixed", "families", "genetic", "profile"),
    "sample": ("varcomp", "families", "genetic", "varcomp_reml", "fixed", "genetic_reml"),
    "compare": ("comparison", "families", "genetic_reml", "genetic", "programs", "varcomp", "varcomp_reml", "fixed"),
    "compare --prior-set": ("priors",),
    "rank": ("models",),
    "curves": ("curves",),
    "study": ("study", "failures"),
    "plan": ("plan",),
    "pairwise": ("pairs", "strongest"),
    "predict": ("predictions", "differences", "lsd"),
    "wald": ("wald",),
    "effects": ("effects", "trial"),
    "priors": ("genetic", "varcomp"),
}


def check_document(design: Design, information: Sequence[TermInformation], cost: Outlook) -> Document:
    """Information of the data, before a fit: records, terms, engine and its cost, notes, warnings."""
    said = [
        Line(f"{design.spec}"),
        Line(f"{len(design.units)} units, {design.n_records} records; likelihood engine: {cost.engine}"),
        *map(Line, cost.lines),
    ]
    warnings = [Line(f"beware: {warning}", "warning") for i in information for warning in i.warnings]
    related = relationship_information(design)
    tables = [traits_table(design), information_table(information)] + (
        [relationships_table(related)] if related else []
    )
    return Document(
        sections=((*said, *tables, *note_lines(design.notes), *warnings),),
        facts={"model": str(design.spec), "engine": dataclasses.asdict(cost)},
        main="terms",
        notes=design.notes,
    )


def reml_document(fit: RemlFit, profile_level: float | None = None) -> Document:
    """Variance components, fixed effects, likelihood and genetic parameters of a REML fit, profile intervals."""
    said = Line(fit.state), *note_lines(fit.record.notes)
    sections: list[Section] = [(varcomp_table(fit), fixed_table(fit), *_numbers(fit), *said)]
    if fit.record.genetic is not None:
        sections.append((parameter_table("genetic", "Genetic parameters, REML", genetic_parameters(fit)),))
    if profile_level is not None:
        sections.append((profile_table(profile_intervals(fit, level=profile_level), profile_level),))
    return Document(
        sections=tuple(sections),
        facts=_reml_facts(fit),
        main="varcomp",
        notes=fit.record.notes,
        converged=fit.converged,
    )


def _numbers(source: Any) -> tuple[Table, ...]:
    """Table of thresholds and other numbers of families, if there are any."""
    frame = family_numbers(source)
    return (parameter_table("families", "Numbers of families", frame),) if len(frame) else ()


def _reml_facts(fit: RemlFit) -> dict[str, Any]:
    return {
        "model": str(fit.record.spec),
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "iterations": fit.iterations,
        "engine": fit.engine_name,
        "at_boundary": list(fit.at_boundary),
        "converged": fit.converged,
    }


def posterior_document(trace: xr.DataTree, fit: RemlFit | None = None) -> Document:
    """Variance components, genetic parameters and convergence of a posterior; for programs, the REML fit beside it."""
    record, verdict = estimates_of(trace).record, convergence(trace)
    sections: list[Section] = [(_posterior_components(trace), *_numbers(trace))]
    if record.genetic is not None:
        sections.append((parameter_table("genetic", "Genetic parameters", genetic_parameters(trace)),))
    sections += [note_lines(record.notes), _ending(trace, verdict)]
    return Document(
        sections=tuple(sections),
        facts={"model": str(record.spec), **_posterior_facts(trace, verdict), **({} if fit is None else _beside(fit))},
        main="varcomp",
        notes=record.notes,
        more=() if fit is None else _reml_tables(fit),
        converged=verdict.converged,
        interrupted=was_interrupted(trace),
    )


def _posterior_components(trace: xr.DataTree) -> Table:
    return parameter_table("varcomp", "Posterior (co)variances", variance_components(trace))


def _reml_tables(fit: RemlFit) -> tuple[Table, ...]:
    """Tables of REML under the names that they have beside a posterior."""
    tables = [dataclasses.replace(varcomp_table(fit), name="varcomp_reml"), fixed_table(fit)]
    if fit.record.genetic is not None:
        tables.append(parameter_table("genetic_reml", "Genetic parameters, REML", genetic_parameters(fit)))
    return tuple(tables)


def _beside(fit: RemlFit) -> dict[str, Any]:
    """Facts of the REML fit beside a posterior."""
    return {"iterations": fit.iterations, "reml": _reml_facts(fit)}


def _posterior_facts(trace: xr.DataTree, verdict: Convergence) -> dict[str, Any]:
    return {
        "engine": trace.attrs["engine"],
        "seed": int(trace.attrs["seed"]),
        "draws": verdict.draws,
        "chains": verdict.chains,
        "converged": verdict.converged,
        "convergence": str(verdict),
        "interrupted": was_interrupted(trace),
    }


def _ending(trace: xr.DataTree, verdict: Convergence) -> Section:
    """Ending of a run: whether it was interrupted, and whether it converged."""
    if not was_interrupted(trace):
        return (convergence_line(verdict),)
    cut = f"INTERRUPTED: {verdict.draws} draws of each of {verdict.chains} chains were complete; the run had not ended"
    return Line(cut, "bad"), convergence_line(verdict)


def comparison_document(
    fit: RemlFit,
    trace: xr.DataTree,
    seconds: float,
    laplace: RemlFit | None = None,
    imported: Mapping[str, Any] | None = None,
) -> Document:
    """REML beside the posterior, genetic parameters of both, priors, and how both ended.

    Beside them a fit by Laplace's approximation, and answers of other programs by name, if given.
    """
    from bayesmv.report.plots import plot_comparison

    record, verdict = estimates_of(trace).record, convergence(trace)
    spec, frame = record.spec, compare_reml(trace, fit, laplace=laplace)
    sections: list[Section] = [
        (Line(f"{spec.title or spec.name}: {spec}"), *note_lines(record.notes)),
        (comparison_table(frame), *_numbers(trace), *(Line(words, "note") for words in legend(frame["verdict"]))),
    ]
    if record.genetic is not None:
        of = f"Genetic parameters of {record.genetic.term} ({record.genetic.relationship})"
        sections.append((parameter_table("genetic_reml", f"{of}, REML", genetic_parameters(fit)),))
        sections.append((parameter_table("genetic", f"{of}, posterior", genetic_parameters(trace)),))
    if imported:
        sections.append(_programs(fit, trace, imported))
    sections += [
        tuple(Line(f"prior of {names}: {prior}") for names, prior in shared(record.prior_words).items()),
        (Line(f"REML logLik {fit.loglik:.3f}, {fit.engine_name} engine; {seconds:.1f} s in all"),),
        _ending(trace, verdict),
    ]
    return Document(
        sections=tuple(sections),
        facts={**_reml_facts(fit), **_posterior_facts(trace, verdict), "reml_converged": fit.converged, **_beside(fit)},
        main="comparison",
        notes=record.notes,
        more=(_posterior_components(trace), *_reml_tables(fit)[:2]),
        picture=Picture(name="densities and REML estimates", draw=lambda path: plot_comparison(trace, fit, path)),
        converged=verdict.converged and fit.converged,
        interrupted=was_interrupted(trace),
    )


def _programs(fit: RemlFit, trace: xr.DataTree, imported: Mapping[str, Any]) -> Section:
    """Answers of other programs beside ours, and what is to be known of them."""
    names = {"REML": fit, "posterior": trace, **imported}
    said = []
    for name, found in imported.items():
        said += [Line(f"{name}: {note}", "note") for note in found.origin.notes]
        if found.fit is not None:
            gap = found.fit.loglik - fit.loglik
            said.append(Line(f"{name}: at its estimates logLik is {found.fit.loglik:.4f} here, {gap:+.4f} of REML's"))
    return (programs_table(compare_programs(names), list(names)), *said)


def models_document(frame: pd.DataFrame, fits: Sequence[RemlFit]) -> Document:
    """REML fits side by side, with what their likelihood ratios were referred to."""
    tested = frame[frame["against"] != ""]
    lines = [
        Line(f"{row['model']} against {row['against']}: {row['reference']}", "note") for _, row in tested.iterrows()
    ]
    notes = tuple(dict.fromkeys(note for fit in fits for note in fit.record.notes))
    return Document(
        sections=((models_table(frame), *lines), note_lines(notes)),
        facts={"fits": [_reml_facts(fit) for fit in fits]},
        main="models",
        notes=notes,
        converged=all(fit.converged for fit in fits),
    )


def curves_document(source: Any, at: Points) -> Document:
    """Genetic parameters along a covariate, or of each environment."""
    from bayesmv.report.plots import plot_trajectory

    estimates = estimates_of(source)
    fit, table = estimates.fit, trajectory_table(trajectory(source, at=at))
    facts = _posterior_facts(source, convergence(source)) if fit is None else _reml_facts(fit)
    return Document(
        sections=((table,), note_lines(estimates.record.notes)),
        facts={"model": str(estimates.record.spec), **facts},
        main="curves",
        notes=estimates.record.notes,
        picture=Picture(name="curves", draw=lambda path: plot_trajectory(source, at=at, path=path)),
        converged=_converged(source),
        interrupted=_interrupted(source),
    )


def study_document(name: str, summary: pd.DataFrame, rows: pd.DataFrame) -> Document:
    """Summary of a study, and what failed in it."""
    from bayesmv.report.plots import plot_study

    failures = rows.loc[rows["failure"] != "", ["case", "replicate", "model", "prior", "method", "failure"]]
    counted = failures.groupby(["case", "model", "method", "failure"]).size().rename("times").reset_index()
    columns = (*map(word_column, ("case", "model", "method", "failure")),)
    lost = Table(name="failures", title="What failed", frame=counted, columns=columns)
    cases = rows["key"].nunique()
    said = Line(f"{name}: {cases} data sets, {len(rows)} rows, {rows_cpu(rows) / 3600:.2g} CPU hours")
    return Document(
        sections=((study_table(summary), said), *(((lost,),) if len(counted) else ())),
        facts={"study": name, "data_sets": cases},
        main="study",
        more=() if len(counted) else (lost,),
        picture=Picture(name="study", draw=lambda path: plot_study(summary, path=path)),
    )


def rows_cpu(rows: pd.DataFrame) -> float:
    """CPU seconds of all fits of a study."""
    return float(rows.drop_duplicates(["key", "model", "prior", "method"])["seconds"].sum())


def plan_document(name: str, frame: pd.DataFrame, summary: str) -> Document:
    """Expected precision of designs, and the best of them."""
    from bayesmv.report.plots import plot_plan

    return Document(
        sections=((plan_table(frame), *map(Line, summary.splitlines())),),
        facts={"plan": name},
        main="plan",
        picture=Picture(name="plan", draw=lambda path: plot_plan(frame, path=path)),
    )


#: Pairs up to which all are printed, and the strongest that are printed of more.
_PAIRS = 20


def pairwise_document(found: Pairwise, design: Design) -> Document:
    """Correlations of pairs of traits: all, or the strongest of many."""
    from bayesmv.report.plots import plot_pairwise

    title = f"Correlations of {found.term}"
    whole = pairs_table("pairs", title, found.table)
    inside = found.table[found.table["constraint"] == "unconstrained"]
    order = inside["correlation"].abs().sort_values(ascending=False, kind="stable").index
    best = inside.loc[order[:_PAIRS]].reset_index(drop=True)
    strongest = pairs_table("strongest", f"{title}: the {len(best)} strongest inside the parameter space", best)
    many = len(found.table) > _PAIRS
    return Document(
        sections=((Line(found.summary()), strongest if many else whole), note_lines(design.notes)),
        facts={"model": str(design.spec), "term": found.term, "traits": list(found.traits)},
        main="pairs",
        notes=design.notes,
        more=(whole,) if many else (strongest,),
        picture=Picture(name="pairwise", draw=lambda path: plot_pairwise(found, path=path)),
        converged=bool(found.table["converged"].all()),
    )


def _converged(source: Any) -> bool:
    """Whether a fit or a posterior converged."""
    fit = estimates_of(source).fit
    return convergence(source).converged if fit is None else fit.converged


def _interrupted(source: Any) -> bool:
    """Whether the run of a posterior was ended before its time."""
    return estimates_of(source).fit is None and was_interrupted(source)


#: Cells up to which the differences of all pairs are printed.
_FEW = 12


def predict_document(prediction: Prediction, source: Any) -> Document:
    """Predictions of cells, their differences and least significant differences."""
    estimates = estimates_of(source)
    said = [Line(words) for words in prediction.said]
    sections: list[Section] = [(prediction_table(prediction), *said)]
    if prediction.expected is not None:
        sections.append((expected_table(prediction),))
    more: tuple[Table, ...] = ()
    if 1 < len(prediction.cells) <= PAIRED:
        pairs = differences_table(prediction.differences())
        if len(prediction.cells) <= _FEW:
            sections.append((pairs,))
        else:
            more = (pairs,)
        sections.append((lsd_table(prediction.lsd()), Line(f"degrees of freedom: {prediction.method}")))
    sections.append(note_lines(estimates.record.notes))
    return Document(
        sections=tuple(sections),
        facts={"model": str(estimates.record.spec), "method": prediction.method, "set": list(prediction.said)},
        main="predictions",
        notes=estimates.record.notes,
        more=more,
        converged=_converged(source),
        interrupted=_interrupted(source),
    )


def wald_document(frame: pd.DataFrame, source: Any) -> Document:
    """Tests of fixed effects."""
    estimates = estimates_of(source)
    return Document(
        sections=((wald_table(frame),), note_lines(estimates.record.notes)),
        facts={"model": str(estimates.record.spec)},
        main="wald",
        notes=estimates.record.notes,
        converged=_converged(source),
        interrupted=_interrupted(source),
    )


def effects_document(frame: pd.DataFrame, trial: pd.DataFrame | None, source: Any, shown: int) -> Document:
    """Predicted effects of levels, the best of each trait on a terminal, and the heritability of the trial."""
    estimates = estimates_of(source)
    whole = effects_table(frame)
    best = frame[frame["rank"] <= shown].sort_values(["trait", "rank"], kind="stable", ignore_index=True)
    table = dataclasses.replace(whole, frame=best, title=f"{whole.title}, the best {shown} of each trait")
    few = len(frame) <= shown
    sections: list[Section] = [(whole if few else table,)]
    if trial is not None:
        sections.append((trial_table(trial),))
    sections.append(note_lines(estimates.record.notes))
    return Document(
        sections=tuple(sections),
        facts={"model": str(estimates.record.spec)},
        main="effects",
        notes=estimates.record.notes,
        more=() if few else (whole,),
        converged=_converged(source),
        interrupted=_interrupted(source),
    )


def priors_document(tree: xr.DataTree, posterior: xr.DataTree | None = None) -> Document:
    """Statements of the priors about variances and genetic parameters, before there are data."""
    from bayesmv.report.plots import plot_prior

    record = estimates_of(tree).record
    sections: list[Section] = [
        tuple(Line(f"prior of {names}: {prior}") for names, prior in shared(record.prior_words).items())
    ]
    if record.genetic is not None:
        sections.append((prior_table("genetic", "Genetic parameters, prior", genetic_parameters(tree)),))
    sections.append((prior_table("varcomp", "(Co)variances, prior", variance_components(tree)),))
    sections.append(note_lines(record.notes))
    return Document(
        sections=tuple(sections),
        facts={"model": str(record.spec), "priors": dict(record.prior_words)},
        main="genetic" if record.genetic is not None else "varcomp",
        notes=record.notes,
        picture=Picture(name="what the priors say", draw=lambda path: plot_prior(tree, posterior, path)),
    )


def prior_sets_document(frame: pd.DataFrame, design: Design) -> Document:
    """Answers under several priors, side by side."""
    table = prior_sets_table(frame)
    return Document(
        sections=((table,), note_lines(design.notes)),
        facts={"model": str(design.spec)},
        main="priors",
        notes=design.notes,
        converged=bool((frame["r_hat"].dropna() <= RHAT_LIMIT).all()),
    )


def shipped_document(specs: Mapping[str, ModelSpec]) -> Document:
    """Model files that come with the package."""
    rows = [{"name": name, "title": spec.title, "model": str(spec)} for name, spec in specs.items()]
    said = Column(header="model", show=lambda row: f"{row['title']}\n{row['model']}", words=True)
    columns = word_column("name"), said
    table = Table(name="models", title="Shipped models", frame=pd.DataFrame(rows), columns=columns)
    return Document(sections=((table,),), main="models")


def note_lines(notes: Iterable[str]) -> tuple[Line, ...]:
    """Notes on the data, a line each."""
    return tuple(Line(f"note: {note}", "note") for note in notes)


def shared(words: Mapping[str, str]) -> dict[str, str]:
    """Words that several names share, said once: names, separated by commas, to words."""
    names: dict[str, list[str]] = {}
    for name, said in words.items():
        names.setdefault(said, []).append(name)
    return {", ".join(who): said for said, who in names.items()}


def convergence_line(verdict: Convergence) -> Line:
    """Whether the sampler converged."""
    return Line(str(verdict), "good" if verdict.converged else "bad")

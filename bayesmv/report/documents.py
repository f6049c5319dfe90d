"""Documents of the commands: what each has to say of its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from bayesmv.checks.cost import Outlook
from bayesmv.checks.identifiability import TermInformation
from bayesmv.comparison.reml_posterior import compare_reml
from bayesmv.design.design import Design
from bayesmv.estimates.components import variance_components
from bayesmv.estimates.parameters import genetic_parameters
from bayesmv.estimates.source import estimates_of
from bayesmv.estimates.trajectory import Points, trajectory
from bayesmv.model.spec import ModelSpec
from bayesmv.reml.result import RemlFit
from bayesmv.report.document import Column, Document, Line, Picture, Section, Table
from bayesmv.report.tables import (
    comparison_table,
    fixed_table,
    information_table,
    models_table,
    parameter_table,
    traits_table,
    trajectory_table,
    varcomp_table,
    word_column,
)
from bayesmv.sampling.convergence import Convergence, convergence


def check_document(design: Design, information: Sequence[TermInformation], cost: Outlook) -> Document:
    """What the data can tell, before a fit: records, terms, engine and its cost, notes, warnings."""
    said = [
        Line(f"{design.spec}"),
        Line(f"{len(design.units)} units, {design.n_records} records; likelihood engine: {cost.engine}"),
        *map(Line, cost.lines),
    ]
    warnings = [Line(f"beware: {warning}", "warning") for i in information for warning in i.warnings]
    tables = traits_table(design), information_table(information)
    return Document(
        sections=((*said, *tables, *note_lines(design.notes), *warnings),),
        facts={"model": str(design.spec), "notes": list(design.notes), "engine": dataclasses.asdict(cost)},
        main="terms",
    )


def reml_document(fit: RemlFit) -> Document:
    """Variance components, fixed effects, likelihood and genetic parameters of a REML fit."""
    said = Line(_reml_state(fit)), *note_lines(fit.record.notes)
    sections: list[Section] = [(varcomp_table(fit), fixed_table(fit), *said)]
    if fit.record.genetic is not None:
        sections.append((parameter_table("genetic", "Genetic parameters, REML", genetic_parameters(fit)),))
    return Document(sections=tuple(sections), facts=_reml_facts(fit), main="varcomp", converged=fit.converged)


def _reml_state(fit: RemlFit) -> str:
    state = "converged" if fit.converged else "NOT converged"
    edge = f"; on the boundary: {', '.join(f'{n} (rank {fit.ranks[n]})' for n in fit.at_boundary)}"
    return (
        f"logLik {fit.loglik:.3f}, {fit.n_parameters} covariance parameters, AIC {fit.aic:.1f}, BIC {fit.bic:.1f}; "
        f"{state} in {fit.iterations} iterations, {fit.engine_name} engine" + (edge if fit.at_boundary else "")
    )


def _reml_facts(fit: RemlFit) -> dict[str, Any]:
    return {
        "model": str(fit.record.spec),
        "notes": list(fit.record.notes),
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "iterations": fit.iterations,
        "engine": fit.engine_name,
        "at_boundary": list(fit.at_boundary),
        "converged": fit.converged,
    }


def posterior_document(trace: xr.DataTree) -> Document:
    """Variance components, genetic parameters and convergence of a posterior."""
    record, verdict = estimates_of(trace).record, convergence(trace)
    sections: list[Section] = [(parameter_table("varcomp", "Posterior (co)variances", variance_components(trace)),)]
    if record.genetic is not None:
        sections.append((parameter_table("genetic", "Genetic parameters", genetic_parameters(trace)),))
    sections += [note_lines(record.notes), (convergence_line(verdict),)]
    facts = {"model": str(record.spec), "notes": list(record.notes), **_posterior_facts(trace, verdict)}
    return Document(sections=tuple(sections), facts=facts, main="varcomp", converged=verdict.converged)


def _posterior_facts(trace: xr.DataTree, verdict: Convergence) -> dict[str, Any]:
    return {
        "engine": trace.attrs["engine"],
        "seed": int(trace.attrs["seed"]),
        "converged": verdict.converged,
        "convergence": str(verdict),
    }


def comparison_document(fit: RemlFit, trace: xr.DataTree, seconds: float) -> Document:
    """REML beside the posterior, genetic parameters of both, priors, and how both ended."""
    from bayesmv.report.plots import plot_comparison

    record, verdict = estimates_of(trace).record, convergence(trace)
    spec = record.spec
    sections: list[Section] = [
        (Line(f"{spec.title or spec.name}: {spec}"), *note_lines(record.notes)),
        (comparison_table(compare_reml(trace, fit)),),
    ]
    if record.genetic is not None:
        of = f"Genetic parameters of {record.genetic.term} ({record.genetic.relationship})"
        sections.append((parameter_table("genetic_reml", f"{of}, REML", genetic_parameters(fit)),))
        sections.append((parameter_table("genetic", f"{of}, posterior", genetic_parameters(trace)),))
    sections += [
        tuple(Line(f"prior of {names}: {prior}") for names, prior in shared(record.prior_words).items()),
        (Line(f"REML logLik {fit.loglik:.3f}, {fit.engine_name} engine; {seconds:.1f} s in all"),),
        (convergence_line(verdict),),
    ]
    return Document(
        sections=tuple(sections),
        facts={**_reml_facts(fit), **_posterior_facts(trace, verdict), "reml_converged": fit.converged},
        main="comparison",
        picture=Picture(name="densities and REML estimates", draw=lambda path: plot_comparison(trace, fit, path)),
        converged=verdict.converged and fit.converged,
    )


def models_document(frame: pd.DataFrame, fits: Iterable[RemlFit]) -> Document:
    """REML fits side by side, with what their likelihood ratios were referred to."""
    tested = frame[frame["against"] != ""]
    lines = [
        Line(f"{row['model']} against {row['against']}: {row['reference']}", "note") for _, row in tested.iterrows()
    ]
    return Document(sections=((models_table(frame), *lines),), main="models", converged=all(f.converged for f in fits))


def curves_document(source: RemlFit | xr.DataTree, at: Points) -> Document:
    """Genetic parameters along a covariate, or of each environment."""
    from bayesmv.report.plots import plot_trajectory

    notes = estimates_of(source).record.notes
    table = trajectory_table(trajectory(source, at=at))
    return Document(
        sections=((table,), note_lines(notes)),
        facts={"notes": list(notes)},
        main="curves",
        picture=Picture(name="curves", draw=lambda path: plot_trajectory(source, at=at, path=path)),
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
    """What several names share, said once: names, separated by commas, to words."""
    names: dict[str, list[str]] = {}
    for name, said in words.items():
        names.setdefault(said, []).append(name)
    return {", ".join(who): said for said, who in names.items()}


def convergence_line(verdict: Convergence) -> Line:
    """Whether the sampler converged."""
    return Line(str(verdict), "good" if verdict.converged else "bad")

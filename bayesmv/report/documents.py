"""Documents of commands."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr
from rich.console import RenderableType

from bayesmv.design.design import Design
from bayesmv.reml.result import RemlFit


def _comparison(
    design: Design, fit: RemlFit, trace: xr.DataTree, frame: pd.DataFrame, seconds: float
) -> list[RenderableType]:
    from rich.text import Text

    from bayesmv.estimates.parameters import genetic_parameters
    from bayesmv.report.tables import comparison_report, convergence_report, parameter_report, priors_in_words
    from bayesmv.sampling.convergence import convergence

    parts: list[RenderableType] = [Text(f"{design.spec.title or design.spec.name}: {design.spec}")]
    parts += [Text(f"note: {note}", style="cyan") for note in design.notes]
    parts.append(comparison_report(frame))
    if design.spec.genetic is not None:
        named = f"{design.spec.genetic.term} ({design.spec.genetic.relationship})"
        parts.append(parameter_report(f"Genetic parameters of {named}, REML", genetic_parameters(fit)))
        parts.append(parameter_report(f"Genetic parameters of {named}, posterior", genetic_parameters(trace)))
    parts += [Text(f"prior of {n}: {p}") for n, p in priors_in_words(trace).items()]
    parts.append(Text(f"REML logLik {fit.loglik:.3f}, {fit.engine.name} engine; {seconds:.1f} s in all"))
    return [*parts, convergence_report(convergence(trace))]


def _posterior_components(frame: pd.DataFrame) -> RenderableType:
    from bayesmv.report.tables import parameter_report

    return parameter_report("Posterior (co)variances", frame)


def _genetic_tables(title: str, frame: pd.DataFrame | None, render: Any) -> list[RenderableType]:
    return [] if frame is None else [render(title, frame)]

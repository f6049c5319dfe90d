"""The command line: ``bayesmv check | reml | sample | compare | rank | curves | simulate`` on a model file."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bayesmv._version import __version__
from bayesmv.cli.models import models as _models
from bayesmv.cli.options import (
    AsCsv,
    AsJson,
    Chains,
    Cores,
    Data,
    Draws,
    MinEss,
    Model,
    Output,
    Picture,
    Seed,
    Target,
    Tune,
    app,
)
from bayesmv.cli.output import check_format, check_output, check_picture, echo_json, records, show
from bayesmv.errors import DataError, SpecError
from bayesmv.report.documents import _comparison, _genetic_tables, _posterior_components

if TYPE_CHECKING:
    import xarray as xr

    from bayesmv.design.design import Design
    from bayesmv.reml.result import RemlFit

app.add_typer(_models, name="models")

#: Exit codes: bad input, and a run that did not converge.
BAD_INPUT, NOT_CONVERGED = 2, 3
#: What typer raises for words that it does not understand, whichever click it is built on.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@app.callback(invoke_without_command=True)
def _alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"bayesmv {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
    else:
        return
    raise typer.Exit


@app.command()
def check(model: Model, data: Data = None, as_json: AsJson = False) -> None:
    """Say what the data can tell about each covariance matrix, before fitting.

    Prints records, levels, degrees of freedom, what was left out, and the likelihood engine: why this one, and what
    an evaluation of it costs.
    """
    from bayesmv.checks.cost import outlook
    from bayesmv.checks.identifiability import identifiability
    from bayesmv.io.files import load_design
    from bayesmv.report.tables import design_report

    design = load_design(model, data)
    information, cost = identifiability(design), outlook(design)
    if as_json:
        entries = [
            {"term": i.term, "levels": i.levels, "freedom": i.freedom, "rank": i.rank, "warnings": list(i.warnings)}
            for i in information
        ]
        answer = {"model": str(design.spec), "notes": list(design.notes), "terms": entries}
        echo_json(answer | {"engine": dataclasses.asdict(cost)})
    else:
        show(design_report(design, information, cost))


@app.command()
def reml(model: Model, data: Data = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Estimate the covariances by restricted maximum likelihood.

    Prints variance components with standard errors, fixed effects and, if the model names a genetic term,
    heritabilities and genetic correlations.
    """
    from bayesmv.estimates.parameters import genetic_parameters
    from bayesmv.io.files import load_design
    from bayesmv.report.tables import parameter_report, reml_report

    check_format(as_json, as_csv)
    fit = _fit(load_design(model, data))
    genetic = genetic_parameters(fit) if fit.design.spec.genetic else None
    if as_json:
        echo_json({"loglik": fit.loglik, "converged": fit.converged, **records({"varcomp": fit.varcomp}, genetic)})
    elif as_csv:
        typer.echo(fit.varcomp.to_csv(index=False), nl=False)
    else:
        show(reml_report(fit), *_genetic_tables("Genetic parameters, REML", genetic, parameter_report))
    _exit_if(not fit.converged)


@app.command()
def sample(
    model: Model,
    data: Data = None,
    draws: Draws = None,
    tune: Tune = 200,
    chains: Chains = 4,
    cores: Cores = 2,
    seed: Seed = 1,
    target_accept: Target = None,
    min_ess: MinEss = None,
    output: Output = None,
    effects: Annotated[bool, typer.Option("--effects", help="Also draw fixed and random effects.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Sample the posterior of the covariances with NUTS.

    Prints variance components with intervals and diagnostics, and genetic parameters if the model names a genetic term.
    """
    from bayesmv.estimates.components import variance_components
    from bayesmv.estimates.parameters import genetic_parameters
    from bayesmv.io.files import load_design
    from bayesmv.report.tables import convergence_report, parameter_report
    from bayesmv.sampling.convergence import convergence

    check_format(as_json, as_csv)
    check_output(output)
    design = load_design(model, data)
    trace = _sample(_fit(design), draws, tune, chains, cores, seed, target_accept, min_ess, effects=effects)
    _save(trace, output)
    components, verdict = variance_components(trace), convergence(trace)
    genetic = genetic_parameters(trace) if design.spec.genetic else None
    if as_json:
        echo_json({"converged": verdict.converged, **records({"varcomp": components}, genetic)})
    elif as_csv:
        typer.echo(components.to_csv(index=False), nl=False)
    else:
        parts = [_posterior_components(components), *_genetic_tables("Genetic parameters", genetic, parameter_report)]
        show(*parts, convergence_report(verdict))
    _exit_if(not verdict.converged)


@app.command()
def compare(
    model: Model,
    data: Data = None,
    draws: Draws = None,
    tune: Tune = 200,
    chains: Chains = 4,
    cores: Cores = 2,
    seed: Seed = 1,
    target_accept: Target = None,
    min_ess: MinEss = None,
    output: Output = None,
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Put the posterior beside the REML estimates: the whole job in one command.

    Fits by REML, samples with NUTS from there, and prints both with a verdict per row.
    """
    from bayesmv.comparison.reml_posterior import compare_reml
    from bayesmv.estimates.parameters import genetic_parameters
    from bayesmv.io.files import load_design
    from bayesmv.sampling.convergence import convergence

    began = time.perf_counter()
    check_format(as_json, as_csv)
    check_output(output)
    check_picture(plot)
    design = load_design(model, data)
    fit = _fit(design)
    trace = _sample(fit, draws, tune, chains, cores, seed, target_accept, min_ess)
    _save(trace, output)
    frame, verdict = compare_reml(trace, fit), convergence(trace)
    if plot is not None:
        _plot(trace, fit, plot)
    if as_json:
        genetic = genetic_parameters(trace) if design.spec.genetic else None
        echo_json({"loglik": fit.loglik, "converged": verdict.converged, **records({"comparison": frame}, genetic)})
    elif as_csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        show(*_comparison(design, fit, trace, frame, time.perf_counter() - began))
    _exit_if(not (verdict.converged and fit.converged))


@app.command()
def rank(
    models: Annotated[
        list[Path], typer.Argument(help="Model file (TOML); two or more, of the same data.", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Put several models of the same records side by side: likelihood, AIC, BIC, likelihood-ratio tests."""
    from bayesmv.comparison.models import compare_models
    from bayesmv.io.files import load_design
    from bayesmv.report.tables import models_report

    check_format(as_json, as_csv)
    fits = [_fit(load_design(path, data)) for path in models]
    frame = compare_models(fits)
    if as_json:
        echo_json(records({"models": frame}, None))
    elif as_csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        show(models_report(frame))
    _exit_if(not all(fit.converged for fit in fits))


@app.command()
def curves(
    model: Model,
    data: Data = None,
    at: Annotated[str | None, typer.Option(help="Points, such as 20,60,100; by default a grid, or all sites.")] = None,
    posterior: Annotated[Path | None, typer.Option(help="Draws written by sample -o, in place of REML.")] = None,
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Heritability and genetic correlations along a covariate, or of each environment.

    For models whose genetic term has covariates or environments: `us(leg(age, 2)):animal`, `us(site):family`.
    """
    from bayesmv.estimates.trajectory import read_points, trajectory
    from bayesmv.io.files import load_design
    from bayesmv.report.plots import plot_trajectory
    from bayesmv.report.tables import trajectory_report
    from bayesmv.sampling.trace import load_posterior

    check_format(as_json, as_csv)
    check_picture(plot)
    source = _fit(load_design(model, data)) if posterior is None else load_posterior(str(posterior))
    table = trajectory(source, at=read_points(at))
    if plot is not None:
        plot_trajectory(source, at=read_points(at), path=plot)
    if as_json:
        echo_json(records({"curves": table}, None))
    elif as_csv:
        typer.echo(table.to_csv(index=False), nl=False)
    else:
        show(trajectory_report(table))


@app.command()
def simulate(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the simulated data to this CSV file.")],
    data: Data = None,
    seed: Seed = 1,
) -> None:
    """Simulate records from the model at its REML estimates, on the layout of its data.

    The same units lack the same traits. Refit the result to see how far estimates move by chance.
    """
    import numpy as np

    from bayesmv.io.files import load_design, read_data
    from bayesmv.simulation.simulate import simulate_records

    check_output(output)
    design = load_design(model, data)
    simulated = simulate_records(_fit(design), np.random.default_rng(seed))
    table = read_data(design.spec, data)
    kept = table.loc[design.kept].assign(**{t: simulated[:, i] for i, t in enumerate(design.traits)})
    kept.to_csv(output, index=False)
    typer.echo(f"wrote {len(kept)} rows to {output}", err=True)


def _fit(design: Design) -> RemlFit:
    from bayesmv.reml.fit import fit_reml

    return fit_reml(design)


def _sample(fit: RemlFit, *settings: float | None, effects: bool = False) -> xr.DataTree:
    from bayesmv.sampling.sample import sample as run

    names = ("draws", "tune", "chains", "cores", "seed", "target_accept", "min_ess")
    words: dict[str, Any] = dict(zip(names, settings, strict=True))
    return run(fit.design, reml=fit, engine=fit.engine, effects=effects, **words)


def _save(trace: xr.DataTree, output: Path | None) -> None:
    if output is not None:
        trace.to_netcdf(output)
        typer.echo(f"wrote the draws to {output}", err=True)


def _plot(trace: xr.DataTree, fit: RemlFit, path: Path) -> None:
    from bayesmv.report.plots import plot_comparison

    plot_comparison(trace, fit, path)
    typer.echo(f"wrote the picture to {path}", err=True)


def _exit_if(failed: bool) -> None:
    if failed:
        raise typer.Exit(NOT_CONVERGED)


def main() -> None:
    """Run the command line; bad input ends in one line on standard error and exit code 2."""
    warnings.formatwarning = _format_warning
    try:
        sys.exit(app(prog_name="bayesmv", standalone_mode=False))
    except (SpecError, DataError, OSError) as error:
        _refuse(str(error))
    except _UsageError as error:
        _refuse(_usage(error))


def _format_warning(message: Warning | str, *_: object, **__: object) -> str:
    return f"bayesmv: {message}\n"


def _usage(error: Any) -> str:
    hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _refuse(message: str) -> NoReturn:
    typer.echo(f"bayesmv: {' '.join(message.splitlines())}", err=True)
    sys.exit(BAD_INPUT)

"""The command line: ``bayesmv check | reml | sample | compare | rank | curves | simulate`` on a model file."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Mapping
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
from bayesmv.cli.output import NOT_CONVERGED, check_format, check_output, check_picture, give
from bayesmv.errors import DataError, SpecError

if TYPE_CHECKING:
    import xarray as xr

    from bayesmv.design.design import Design
    from bayesmv.reml.result import RemlFit
    from bayesmv.sampling.settings import SamplerSettings

__all__ = ["BAD_INPUT", "NOT_CONVERGED", "app", "main"]

#: Exit code of bad input.
BAD_INPUT = 2
#: What typer raises for words that it does not understand, whichever click it is built on.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


app.add_typer(_models, name="models")


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
    from bayesmv.report.documents import check_document

    design = load_design(model, data)
    give(check_document(design, identifiability(design), outlook(design)), as_json=as_json)


@app.command()
def reml(model: Model, data: Data = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Estimate the covariances by restricted maximum likelihood.

    Prints variance components with standard errors, fixed effects and, if the model names a genetic term,
    heritabilities and genetic correlations.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import reml_document

    check_format(as_json, as_csv)
    give(reml_document(_fit(load_design(model, data))), as_json=as_json, as_csv=as_csv)


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
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import posterior_document

    check_format(as_json, as_csv)
    check_output(output)
    settings = _settings(locals())
    trace = _sample(_fit(load_design(model, data)), settings, effects=effects)
    give(posterior_document(trace), as_json=as_json, as_csv=as_csv, trace=trace, output=output)


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
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import comparison_document

    began = time.perf_counter()
    check_format(as_json, as_csv)
    check_output(output)
    check_picture(plot)
    settings = _settings(locals())
    fit = _fit(load_design(model, data))
    trace = _sample(fit, settings)
    document = comparison_document(fit, trace, time.perf_counter() - began)
    give(document, as_json=as_json, as_csv=as_csv, plot=plot, trace=trace, output=output)


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
    from bayesmv.report.documents import models_document

    check_format(as_json, as_csv)
    fits = [_fit(load_design(path, data)) for path in models]
    give(models_document(compare_models(fits), fits), as_json=as_json, as_csv=as_csv)


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
    from bayesmv.estimates.trajectory import read_points
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import curves_document

    check_format(as_json, as_csv)
    check_picture(plot)
    design = load_design(model, data)
    source = _fit(design) if posterior is None else _posterior_of(design, posterior)
    give(curves_document(source, read_points(at)), as_json=as_json, as_csv=as_csv, plot=plot)


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


def _settings(words: Mapping[str, Any]) -> SamplerSettings:
    """Settings of the sampler among the options of a command."""
    from bayesmv.sampling.settings import SamplerSettings

    names = [field.name for field in dataclasses.fields(SamplerSettings)]
    return SamplerSettings(**{name: words[name] for name in names if name in words})


def _sample(fit: RemlFit, settings: SamplerSettings, *, effects: bool = False) -> xr.DataTree:
    from bayesmv.sampling.sample import sample as run

    return run(fit.design, settings=settings, reml=fit, engine=fit.engine, effects=effects)


def _posterior_of(design: Design, path: Path) -> xr.DataTree:
    """Posterior in a file, refused if it is of another model or other data."""
    from bayesmv.design.model_record import ModelRecord
    from bayesmv.sampling.trace import load_posterior

    trace = load_posterior(str(path))
    ModelRecord.read(trace).require_same(ModelRecord.of(design), f"the posterior in '{path}'", "the model")
    return trace


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

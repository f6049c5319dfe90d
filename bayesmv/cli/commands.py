"""The command line: ``bayesmv init | check | reml | sample | compare | …`` on a model file."""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesmv._version import __version__
from bayesmv.cli.init import init as _init
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
    Posterior,
    Resume,
    Seed,
    TableName,
    Target,
    Tune,
    app,
)
from bayesmv.cli.output import (
    INTERRUPTED,
    NOT_CONVERGED,
    Form,
    Write,
    check_output,
    check_picture,
    files_of,
    give,
    keep_inputs,
    reason,
    say_written,
    tell_notes,
)
from bayesmv.cli.signals import Interrupts
from bayesmv.errors import ConvergenceWarning, DataError, SpecError, listing
from bayesmv.report.plain import PLAIN_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import xarray as xr

    from bayesmv.design import saved
    from bayesmv.design.design import Design
    from bayesmv.reml.result import RemlFit

__all__ = ["BAD_INPUT", "INTERRUPTED", "NOT_CONVERGED", "app", "main"]

#: Exit codes of bad input, and of a bug.
BAD_INPUT, BUG = 2, 1
#: What typer raises for words that it does not understand, whichever click it is built on.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
#: Word that may stand anywhere among the others.
_DEBUG = "--debug"


app.add_typer(_models, name="models")
app.command(name="init")(_init)


@app.callback(invoke_without_command=True)
def _alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show where in the program an error arose.")] = False,
) -> None:
    if version:
        typer.echo(f"bayesmv {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
    else:
        return
    raise typer.Exit


@app.command()
def check(
    model: Model, data: Data = None, as_json: AsJson = False, as_csv: AsCsv = False, table: TableName = None
) -> None:
    """Say what the data can tell about each covariance matrix, before fitting.

    Prints records, levels, degrees of freedom, what was left out, and the likelihood engine: why this one, and what
    an evaluation of it costs.
    """
    from bayesmv.checks.cost import outlook
    from bayesmv.checks.identifiability import identifiability
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import check_document

    form = Form(command="check", as_json=as_json, as_csv=as_csv, table=table)
    design = load_design(model, data)
    give(check_document(design, identifiability(design), outlook(design)), form)


@app.command()
def reml(
    model: Model, data: Data = None, as_json: AsJson = False, as_csv: AsCsv = False, table: TableName = None
) -> None:
    """Estimate the covariances by restricted maximum likelihood.

    Prints variance components with standard errors, fixed effects and, if the model names a genetic term,
    heritabilities and genetic correlations.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import reml_document

    form = Form(command="reml", as_json=as_json, as_csv=as_csv, table=table)
    give(reml_document(_fit(load_design(model, data))), form)


@app.command()
def sample(
    context: typer.Context,
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
    resume: Resume = None,
    effects: Annotated[bool, typer.Option("--effects", help="Also draw fixed and random effects.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Sample the posterior of the covariances with NUTS.

    Prints variance components with intervals and diagnostics, and genetic parameters if the model names a genetic term.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import posterior_document

    form = Form(command="sample", as_json=as_json, as_csv=as_csv, table=table)
    target = check_output(output or resume)
    words = _settings(context, resume)
    design = load_design(model, data)
    keep_inputs([target], files_of(design.spec, model, data))
    fit = _fit(design)
    trace = _sample(fit, words, effects=effects, resume=resume, checkpoint=target)
    give(posterior_document(trace, fit), form, _written(trace, target))


@app.command()
def compare(
    context: typer.Context,
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
    resume: Resume = None,
    plot: Picture = None,
    prior_set: Annotated[
        str | None,
        typer.Option(help="Refit under several priors instead: model, default, skeptical, flat, wide; a,b,c."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Put the posterior beside the REML estimates: the whole job in one command.

    Fits by REML, samples with NUTS from there, and prints both with a verdict per row.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import comparison_document, prior_sets_document

    began = time.perf_counter()
    form = Form(command="compare", as_json=as_json, as_csv=as_csv, table=table)
    target, picture = check_output(output or resume), check_picture(plot)
    words = _settings(context, resume)
    design = load_design(model, data)
    keep_inputs([target, picture], files_of(design.spec, model, data))
    fit = _fit(design)
    if prior_set is not None:
        if target is not None or picture is not None:
            raise SpecError("--prior-set prints a table of several runs; -o, --resume and --plot are of one")
        from bayesmv.comparison.sensitivity import compare_priors

        sets = [name.strip() for name in prior_set.split(",") if name.strip()]
        give(prior_sets_document(compare_priors(design, sets, reml=fit, engine=fit.engine, **words), design), form)
        return
    trace = _sample(fit, words, resume=resume, checkpoint=target)
    document = comparison_document(fit, trace, time.perf_counter() - began)
    give(document, form, [*_written(trace, target), *_drawn(document, picture)])


@app.command()
def rank(
    models: Annotated[
        list[Path], typer.Argument(help="Model file (TOML); two or more, of the same data.", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Put several models of the same records side by side: likelihood, AIC, BIC, likelihood-ratio tests."""
    from bayesmv.comparison.models import compare_models
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import models_document

    form = Form(command="rank", as_json=as_json, as_csv=as_csv, table=table)
    if len(models) < 2:
        raise SpecError(f"give at least two models to compare, not {len(models)}")
    fits = [_fit(load_design(path, data)) for path in models]
    give(models_document(compare_models(fits), fits), form)


@app.command()
def curves(
    model: Model,
    data: Data = None,
    at: Annotated[str | None, typer.Option(help="Points, such as 20,60,100; by default a grid, or all sites.")] = None,
    posterior: Posterior = None,
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Heritability and genetic correlations along a covariate, or of each environment.

    For models whose genetic term has covariates or environments: `us(leg(age, 2)):animal`, `us(site):family`.
    """
    from bayesmv.estimates.trajectory import read_points
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import curves_document

    form = Form(command="curves", as_json=as_json, as_csv=as_csv, table=table)
    picture = check_picture(plot)
    design = load_design(model, data)
    drawn_from = {} if posterior is None else {"the posterior": posterior}
    keep_inputs([picture], files_of(design.spec, model, data) | drawn_from)
    source = _fit(design) if posterior is None else _posterior_of(design, posterior)
    document = curves_document(source, read_points(at))
    give(document, form, _drawn(document, picture))


@app.command()
def predict(
    model: Model,
    data: Data = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Cells: a factor, Family, or values, age=10,20 or Family=F01,F02. May be repeated."),
    ] = None,
    average: Annotated[
        str, typer.Option(help="How other factors are averaged over: equal, observed or present.")
    ] = "equal",
    terms: Annotated[
        str | None,
        typer.Option(help="Random terms whose effects are included, a,b; by default those that the cells name."),
    ] = None,
    posterior: Posterior = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Predict adjusted means, or means with the effects of random terms, and compare them.

    `--at site --at age=10,20` predicts every site at two ages. Factors that are not named are averaged over, covariates
    stand at their means.
    """
    from bayesmv.estimates.prediction import predict as run
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import predict_document

    form = Form(command="predict", as_json=as_json, as_csv=as_csv, table=table)
    design = load_design(model, data)
    source = _fit(design) if posterior is None else _posterior_of(design, posterior)
    included = None if terms is None else [name.strip() for name in terms.split(",") if name.strip()]
    found = run(source, _cells(at or []), average=average, terms=included, design=design)
    give(predict_document(found, source), form)


@app.command()
def wald(
    model: Model,
    data: Data = None,
    denominators: Annotated[
        str, typer.Option(help="kenward-roger, containment, or auto: the first up to 2000 records.")
    ] = "auto",
    posterior: Posterior = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Test the fixed effects: incremental and conditional F tests, by trait and over all traits."""
    from bayesmv.estimates.wald import wald as run
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import wald_document

    form = Form(command="wald", as_json=as_json, as_csv=as_csv, table=table)
    design = load_design(model, data)
    source = _fit(design) if posterior is None else _posterior_of(design, posterior)
    give(wald_document(run(source, denominators, design=design), source), form)  # type: ignore[arg-type]


@app.command()
def priors(
    model: Model,
    data: Data = None,
    draws: Annotated[int, typer.Option(help="Draws of the priors.", min=10)] = 2000,
    seed: Seed = 1,
    posterior: Annotated[Path | None, typer.Option(help="Draws written by sample -o, to be drawn beside.")] = None,
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Say what the priors mean before fitting: for variances, heritabilities and genetic correlations.

    With `--plot` also for the spread of records.
    """
    from bayesmv.estimates.enriched import prior_predictive
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import priors_document

    form = Form(command="priors", as_json=as_json, as_csv=as_csv, table=table)
    picture = check_picture(plot)
    design = load_design(model, data)
    drawn_from = {} if posterior is None else {"the posterior": posterior}
    keep_inputs([picture], files_of(design.spec, model, data) | drawn_from)
    beside = None if posterior is None else _posterior_of(design, posterior)
    document = priors_document(prior_predictive(design, draws=draws, seed=seed), beside)
    give(document, form, _drawn(document, picture))


@app.command()
def effects(
    model: Model,
    data: Data = None,
    term: Annotated[str | None, typer.Option(help="Random term; by default the genetic one.")] = None,
    best: Annotated[
        int | None, typer.Option(help="With --posterior, also the probability to be among so many.", min=1)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all of them to this CSV file.")] = None,
    posterior: Posterior = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Predict effects of levels: breeding values with their errors, reliability, accuracy and ranks.

    The best of each trait are printed; `-o` writes all. Of a term of at most 1000 levels with records, the heritability
    of the trial (Cullis; Piepho & Moehring) is printed too.
    """
    from bayesmv.estimates.breeding_values import breeding_values, trial_heritability
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import effects_document

    form = Form(command="effects", as_json=as_json, as_csv=as_csv, table=table)
    target = check_output(output)
    design = load_design(model, data)
    drawn_from = {} if posterior is None else {"the posterior": posterior}
    keep_inputs([target], files_of(design.spec, model, data) | drawn_from)
    genetic = design.spec.genetic
    if term is None and genetic is None:
        raise SpecError(f"which term? give --term; random terms: {listing(design.names[:-1])}")
    chosen = term if term is not None else genetic.term if genetic is not None else ""
    entries = design.term(chosen)
    source = _fit(design) if posterior is None else _posterior_of(design, posterior)
    found = breeding_values(source, chosen, best=best, design=design)
    few = len(entries.levels) * len(entries.effects) <= 1000
    trial = trial_heritability(source, chosen, design=design) if few else None
    writes = [] if target is None else [Write(what="the effects", target=target, write=_csv_of(found))]
    give(effects_document(found, trial, source, 10), form, writes)


def _csv_of(frame: pd.DataFrame) -> Callable[[saved.Target], object]:
    return lambda file: file.write(lambda part: frame.to_csv(part, index=False))


def _cells(words: list[str]) -> dict[str, list[str] | None]:
    """Cells in words of the command line: ``Family``, ``age=10,20``."""
    out: dict[str, list[str] | None] = {}
    for word in words:
        name, given, values = word.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not name.strip() or (given and not listed):
            raise SpecError(f"--at {word}: give a factor, --at Family, or values, --at age=10,20")
        out[name.strip()] = listed if given else None
    return out


@app.command()
def report(
    context: typer.Context,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the report to this HTML file.")],
    data: Data = None,
    posterior: Annotated[Path | None, typer.Option(help="Draws written by sample -o, in place of a run.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Economic weights, bden=1,veloc=100; by default one a phenotypic sd.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share that is selected.", min=0.0001, max=0.99)] = 0.05,
    draws: Draws = None,
    tune: Tune = 200,
    chains: Chains = 4,
    cores: Cores = 2,
    seed: Seed = 1,
    target_accept: Target = None,
    min_ess: MinEss = None,
) -> None:
    """Write a report of the whole study: one HTML file, to be read, sent and printed.

    Data, model, REML beside the posterior, genetic parameters, means, predicted effects, selection, priors, checks,
    diagnostics, methods for a paper, and how to reproduce it.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.html import to_html
    from bayesmv.report.study import Study, study_document

    target = check_output(output)
    assert target is not None
    if output.suffix.lower() not in (".html", ".htm"):
        raise SpecError(f"cannot write a report to '{output}': its name must end in .html")
    words, economic = _settings(context, None), _weights_of(weights)
    design: Design = load_design(model, data)
    drawn_from = {} if posterior is None else {"the posterior": posterior}
    keep_inputs([target], files_of(design.spec, model, data) | drawn_from)
    fit = _fit(design)
    trace = _sample(fit, words) if posterior is None else _posterior_of(design, posterior)
    document = study_document(Study(design=design, fit=fit, trace=trace, weights=economic, share=share))
    page = to_html(document, design.spec.title or design.spec.name)
    tell_notes(design.notes)
    try:
        target.write(lambda part: part.write_text(page, encoding="utf-8"))
    except OSError as error:
        raise OSError(f"cannot write the report to '{target.path}': {reason(error)}") from None
    say_written("the report", target)
    if not document.converged:
        raise typer.Exit(NOT_CONVERGED)


def _weights_of(words: str | None) -> dict[str, float]:
    """Economic weights in words of the command line, ``bden=1,veloc=100``."""
    out = {}
    for word in (words or "").split(","):
        name, _, value = word.partition("=")
        if not word.strip():
            continue
        try:
            out[name.strip()] = float(value)
        except ValueError:
            raise SpecError(f"--weights {words}: give trait=number, as in bden=1,veloc=100") from None
    return out


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

    target = check_output(output)
    assert target is not None
    design = load_design(model, data)
    keep_inputs([target], files_of(design.spec, model, data))
    fit = _fit(design)
    simulated = simulate_records(fit, np.random.default_rng(seed))
    table = read_data(design.spec, data)
    kept = table.loc[design.kept].assign(**{t: simulated[:, i] for i, t in enumerate(design.traits)})
    tell_notes(design.notes)
    try:
        target.write(lambda part: kept.to_csv(part, index=False))
    except OSError as error:
        raise OSError(f"cannot write the data to '{target.path}': {reason(error)}") from None
    say_written(f"{len(kept)} rows", target)
    if not fit.converged:
        raise typer.Exit(NOT_CONVERGED)


def _fit(design: Design) -> RemlFit:
    from bayesmv.reml.fit import fit_reml

    return fit_reml(design)


def _settings(context: typer.Context, resume: Path | None) -> dict[str, Any]:
    """Settings of the sampler among the options of a command; of a run that is taken up, those that were given."""
    from bayesmv.sampling.settings import SamplerSettings

    names = [field.name for field in dataclasses.fields(SamplerSettings) if field.name in context.params]
    if resume is not None:
        names = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    words = {name: context.params[name] for name in names}
    SamplerSettings(**words)  # refuses what is wrong before any work
    return words


def _sample(fit: RemlFit, words: dict[str, Any], **options: Any) -> xr.DataTree:
    from bayesmv.sampling.sample import sample as run

    return run(fit.design, reml=fit, engine=fit.engine, **options, **words)


def _written(trace: xr.DataTree, target: saved.Target | None) -> list[Write]:
    if target is None:
        return []
    return [Write(what="the draws", target=target, write=lambda file: file.write_tree(trace))]


def _drawn(document: Any, target: saved.Target | None) -> list[Write]:
    if target is None or document.picture is None:
        return []
    return [Write(what="the picture", target=target, write=lambda file: file.write(document.picture.draw))]


def _posterior_of(design: Design, path: Path) -> xr.DataTree:
    """Posterior in a file, refused if it is of another model or other data."""
    from bayesmv.design.model_record import ModelRecord
    from bayesmv.sampling.trace import load_posterior

    trace = load_posterior(str(path))
    ModelRecord.read(trace).require_same(ModelRecord.of(design), f"the posterior in '{path}'", "the model")
    return trace


def main() -> None:
    """Run the command line: bad input ends in one line on standard error and exit code 2, a bug in exit code 1."""
    words = [word for word in sys.argv[1:] if word != _DEBUG]
    debug = len(words) < len(sys.argv) - 1
    _prepare_streams()
    # Matplotlib tells of every folder that it cannot write to.
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), Interrupts() as interrupts:
        # What is said to users is said, whatever Python is told to do with warnings.
        warnings.simplefilter("default", UserWarning)
        shown: Any = _show_all if debug else _show
        warnings.showwarning = shown
        code = _run(words, debug, interrupts)
    sys.exit(code)


def _run(words: list[str], debug: bool, interrupts: Interrupts) -> int:
    """Run a command and return its exit code."""
    try:
        code = app(words, prog_name="bayesmv", standalone_mode=False) or 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        return 0
    except (SpecError, DataError, OSError, MemoryError, _UsageError) as error:
        if debug:
            traceback.print_exc()
        return _refuse(_words_of(error))
    except Exception as error:
        return _confess(error, debug)
    if code == INTERRUPTED:
        _say("interrupted")
        return interrupts.code
    return int(code)


def _prepare_streams() -> None:
    """Streams that take what they are given: plain characters where they know no others, nothing where closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN_ERRORS)


def _show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Show a warning that is meant for users; those of libraries are for developers."""
    if issubclass(category, ConvergenceWarning) or category is UserWarning:
        _say(str(message))


def _show_all(
    message: Warning | str, category: type[Warning], file: str, line: int, out: Any = None, text: str | None = None
) -> None:
    """Show a warning with where it arose."""
    _say(f"{category.__name__} of {file}:{line}: {message}")


def _words_of(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory{f': {error}' if str(error) else ''}; a smaller model or a larger machine is needed"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: '{error.filename}'" if error.filename is not None else error.strerror
    return _usage(error) if isinstance(error, _UsageError) else str(error)


def _usage(error: Any) -> str:
    hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _refuse(message: str) -> int:
    _say(message)
    return BAD_INPUT


def _confess(error: Exception, debug: bool) -> int:
    """Say that an error is a bug, and what to report."""
    if debug:
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{Path(where.filename).name}:{where.lineno}"
    more = "" if debug else f"; please report what the same command prints with {_DEBUG}, and the model file"
    _say(f"this is a bug of bayesmv {__version__}, {type(error).__name__} at {at}: {error}{more}")
    return BUG


def _say(message: str) -> None:
    """Print one line to standard error; characters that would move the cursor are shown as they are written."""
    line = " ".join(message.splitlines())
    typer.echo(f"bayesmv: {''.join(c if c.isprintable() else repr(c)[1:-1] for c in line)}", err=True)

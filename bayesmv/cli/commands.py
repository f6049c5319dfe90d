"""The command line: ``bayesmv init | check | reml | sample | compare | …`` on a model file."""

from __future__ import annotations

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
from bayesmv.cli import results as _results  # noqa: F401 - registers its commands
from bayesmv.cli import studies as _studies  # noqa: F401 - registers its commands
from bayesmv.cli.init import init as _init
from bayesmv.cli.models import models as _models
from bayesmv.cli.options import (
    AsCsv,
    AsJson,
    Chains,
    Cores,
    Data,
    Draws,
    Method,
    MinEss,
    Model,
    Output,
    Picture,
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
from bayesmv.cli.work import drawn, fit_of, imported_of, sampled, settings_of, written
from bayesmv.errors import ConvergenceWarning, DataError, SpecError, require_known
from bayesmv.report.plain import PLAIN_ERRORS

if TYPE_CHECKING:
    pass

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
    model: Model,
    data: Data = None,
    intervals: Annotated[
        str, typer.Option(help="delta: standard errors; profile: intervals by profile likelihood besides.")
    ] = "delta",
    level: Annotated[float, typer.Option(help="Level of profile intervals.", min=0.01, max=0.9999)] = 0.95,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Estimate the covariances by restricted maximum likelihood.

    Prints variance components with standard errors, fixed effects and, if the model names a genetic term,
    heritabilities and genetic correlations.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import reml_document

    form = Form(command="reml", as_json=as_json, as_csv=as_csv, table=table)
    require_known([intervals], ("delta", "profile"), "no intervals {}; there are")
    wanted = intervals == "profile" or table == "profile"
    give(reml_document(fit_of(load_design(model, data)), level if wanted else None), form)


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
    method: Method = "auto",
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
    words = settings_of(context, resume)
    design = load_design(model, data)
    keep_inputs([target], files_of(design.spec, model, data))
    fit = fit_of(design)
    trace = sampled(fit, words, effects=effects, resume=resume, checkpoint=target)
    give(posterior_document(trace, fit), form, written(trace, target))


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
    method: Method = "auto",
    output: Output = None,
    resume: Resume = None,
    plot: Picture = None,
    prior_set: Annotated[
        str | None,
        typer.Option(help="Refit under several priors instead: model, default, skeptical, flat, wide; a,b,c."),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Another program's answer beside ours, asreml=run.asr or mcmcglmm=vcv.csv. May be repeated."
        ),
    ] = None,
    with_term: Annotated[
        list[str] | None,
        typer.Option(help="Name of a term there, where it does not tell itself: blupf90:animal='effect 3'."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Put the posterior beside the REML estimates: the whole job in one command.

    Fits by REML, samples with NUTS from there, and prints both with a verdict per row. Where traits are not Gaussian,
    the approximations of REML are the variational one and, for comparison with other programs, that of Laplace.
    """
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import comparison_document, prior_sets_document

    began = time.perf_counter()
    several = prior_set is not None
    form = Form(command="compare --prior-set" if several else "compare", as_json=as_json, as_csv=as_csv, table=table)
    target, picture = check_output(output or resume), check_picture(plot)
    words = settings_of(context, resume)
    design = load_design(model, data)
    keep_inputs([target, picture], files_of(design.spec, model, data))
    fit = fit_of(design)
    if prior_set is not None:
        if target is not None or picture is not None:
            raise SpecError("--prior-set prints a table of several runs; -o, --resume and --plot are of one")
        from bayesmv.comparison.sensitivity import compare_priors

        sets = [name.strip() for name in prior_set.split(",") if name.strip()]
        give(prior_sets_document(compare_priors(design, sets, reml=fit, engine=fit.engine, **words), design), form)
        return
    imported = imported_of(design, beside or [], with_term or [])
    trace = sampled(fit, words, resume=resume, checkpoint=target)
    laplace = None if design.gaussian else fit_of(design, "laplace")
    document = comparison_document(fit, trace, time.perf_counter() - began, laplace, imported)
    give(document, form, [*written(trace, target), *drawn(document, picture)])


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
    fits = [fit_of(load_design(path, data)) for path in models]
    give(models_document(compare_models(fits), fits), form)


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
    from bayesmv.simulation.simulate import as_recorded, simulate_records

    target = check_output(output)
    assert target is not None
    design = load_design(model, data)
    keep_inputs([target], files_of(design.spec, model, data))
    fit = fit_of(design)
    simulated = simulate_records(fit, np.random.default_rng(seed))
    table = read_data(design.spec, data)
    records = dict(zip(design.traits, simulated.T, strict=True))
    kept = table.loc[design.kept].assign(**as_recorded(design.spec, records))
    tell_notes(design.notes)
    try:
        target.write(lambda part: kept.to_csv(part, index=False))
    except OSError as error:
        raise OSError(f"cannot write the data to '{target.path}': {reason(error)}") from None
    say_written(f"{len(kept)} rows", target)
    if not fit.converged:
        raise typer.Exit(NOT_CONVERGED)


#: Commands in the order of an analysis, for the help.
_ORDER = (
    "init", "check", "priors", "reml", "sample", "compare", "report",
    "pairwise", "plan", "study", "predict", "wald", "effects", "curves", "rank", "simulate",
)  # fmt: skip


def _place(command: typer.models.CommandInfo) -> int:
    """Place of a command in the help."""
    name = command.name or getattr(command.callback, "__name__", "")
    return _ORDER.index(name)


app.registered_commands.sort(key=_place)


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

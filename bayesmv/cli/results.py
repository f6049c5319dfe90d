"""Commands on results: curves, predictions, tests, effects, priors, the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    Picture,
    Posterior,
    Seed,
    TableName,
    Target,
    Tune,
    app,
)
from bayesmv.cli.output import (
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
from bayesmv.errors import SpecError, listing

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from bayesmv.design import saved
    from bayesmv.design.design import Design

from bayesmv.cli.work import drawn, fit_of, posterior_of, sampled, settings_of


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
    source = fit_of(design) if posterior is None else posterior_of(design, posterior)
    document = curves_document(source, read_points(at))
    give(document, form, drawn(document, picture))


@app.command()
def pairwise(
    model: Model,
    data: Data = None,
    traits: Annotated[str | None, typer.Option(help="Some of the traits, a,b,c.  [default: all]")] = None,
    term: Annotated[
        str | None, typer.Option(help="Term of the correlations.  [default: the genetic one, or the only one]")
    ] = None,
    posterior: Annotated[bool, typer.Option("--posterior", help="Also sample every pair, some seconds each.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write pairs to this CSV file as they are done; a run that was ended takes it up."
        ),
    ] = None,
    plot: Picture = None,
    cores: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    seed: Seed = 1,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Genetic correlations between all pairs of many traits, each pair by a model of its own.

    For hundreds of traits of the same individuals, such as spectra or metabolites, state `random =
    "diag(trait):vm(line, G)"`.
    """
    from bayesmv.estimates.pairwise import pairwise as run
    from bayesmv.io.files import load_design
    from bayesmv.report.documents import pairwise_document

    form = Form(command="pairwise", as_json=as_json, as_csv=as_csv, table=table)
    picture, file = check_picture(plot), check_output(output)
    design = load_design(model, data)
    keep_inputs([picture, file], files_of(design.spec, model, data))
    chosen = None if traits is None else [name.strip() for name in traits.split(",") if name.strip()]
    found = run(design, traits=chosen, term=term, posterior=posterior, seed=seed, path=output, cores=cores)
    document = pairwise_document(found, design)
    give(document, form, drawn(document, picture))


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
    source = fit_of(design) if posterior is None else posterior_of(design, posterior)
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
    source = fit_of(design) if posterior is None else posterior_of(design, posterior)
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
    beside = None if posterior is None else posterior_of(design, posterior)
    document = priors_document(prior_predictive(design, draws=draws, seed=seed), beside)
    give(document, form, drawn(document, picture))


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
    source = fit_of(design) if posterior is None else posterior_of(design, posterior)
    found = breeding_values(source, chosen, best=best, design=design)
    few = len(entries.levels) * len(entries.effects) <= 1000
    few = few and design.gaussian
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
    method: Method = "auto",
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
    words, economic = settings_of(context, None), _weights_of(weights)
    design: Design = load_design(model, data)
    drawn_from = {} if posterior is None else {"the posterior": posterior}
    keep_inputs([target], files_of(design.spec, model, data) | drawn_from)
    fit = fit_of(design)
    trace = sampled(fit, words) if posterior is None else posterior_of(design, posterior)
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

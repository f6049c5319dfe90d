"""Commands of many fits: studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayesmv.cli.options import AsCsv, AsJson, Picture, TableName, app
from bayesmv.cli.output import Form, check_output, check_picture, give, keep_inputs, reason, say_written
from bayesmv.cli.work import drawn
from bayesmv.errors import SpecError


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).", show_default=False)],
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Say how precise trials of given sizes can be expected to be, and which is best for a budget.

    Standard errors of heritabilities and genetic correlations from the expected information, without simulation.
    """
    from bayesmv.report.documents import plan_document
    from bayesmv.studies.plan import plan as run

    form = Form(command="plan", as_json=as_json, as_csv=as_csv, table=table)
    picture = check_picture(plot)
    keep_inputs([picture], {"the plan file": file})
    found = run(file)
    document = plan_document(found.name, found.table, found.summary())
    give(document, form, drawn(document, picture))


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="Study file (TOML).", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results; a run that was ended is taken up.")
    ],
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:port.")] = None,
    max_cpu: Annotated[
        float | None, typer.Option(help="Hours of CPU time after which no further case is begun.", min=0)
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the summary as one HTML page.")] = None,
    plot: Picture = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    table: TableName = None,
) -> None:
    """Run a study, data sets × models × priors × methods, and print bias, coverage and time.

    Results are rows of a Parquet data set; what is in the folder is not run again.
    """
    from bayesmv.report.documents import study_document
    from bayesmv.report.html import to_html
    from bayesmv.studies import study as run
    from bayesmv.studies.declared import StudySpec
    from bayesmv.studies.summary import study_summary

    form = Form(command="study", as_json=as_json, as_csv=as_csv, table=table)
    picture, target = check_picture(plot), check_output(page)
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise SpecError(f"cannot write a page to '{page}': its name must end in .html")
    spec = StudySpec.from_file(file)
    keep_inputs([picture, target], {"the study file": file})
    rows = run(spec, output, workers=workers, scheduler=scheduler, max_cpu=max_cpu)
    document = study_document(spec.name, study_summary(rows), rows)
    give(document, form, drawn(document, picture))
    if target is not None:
        text = to_html(document, spec.name)
        try:
            target.write(lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise OSError(f"cannot write the page to '{target.path}': {reason(error)}") from None
        say_written("the page", target)

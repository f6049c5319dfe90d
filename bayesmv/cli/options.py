"""Options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Multi-trait animal models: posteriors by NUTS beside REML estimates.

    Every command works on a **model file** (TOML): the data, the traits, and the random terms in ASReml's words:

        data = "trees.csv"
        traits = ["bden", "veloc"]
        random = "us(trait):Block + us(trait):Family"

    `bayesmv models` lists the models that are shipped; their names stand for files in every command.
    `bayesmv check` says what the data can tell before anything is fitted; `bayesmv compare` does the whole job.

    `bayesmv init trees.csv` writes a first model file from a look at a table.

    Exit codes: 0 done, 2 bad input (one line says what and how to mend it) or a file that could not be written,
    3 not converged, 130 interrupted (143 by a request to end), 1 a bug.""",
)


Model = Annotated[Path, typer.Argument(help="Model file (TOML), or name of a shipped model.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="Table to use in place of the model's data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")]
TableName = Annotated[
    str | None, typer.Option("--table", help="Print this table as CSV; an unknown name says which there are.")
]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Draws kept per chain.  [default: 1000, and more until all effective sample sizes are 1000]", min=1
    ),
]


Tune = Annotated[int, typer.Option(help="Tuning draws per chain.", min=1)]
Chains = Annotated[int, typer.Option(help="Number of chains.", min=1)]
Cores = Annotated[int, typer.Option(help="Chains that run at once.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed; the same seed repeats the run, but for rounding.", min=0, max=2**63 - 1)]
Target = Annotated[
    float | None,
    typer.Option(
        help="Target acceptance of NUTS.  [default: 0.9, 0.95 if REML is on the boundary]", min=0.5, max=0.999
    ),
]


Method = Annotated[
    str,
    typer.Option(help="nuts; values: weighted points, quick where an evaluation is dear; or auto."),
]
MinEss = Annotated[
    float | None,
    typer.Option(help="Go on until all effective sample sizes reach this, for 20 × --draws at most.", min=1),
]


Picture = Annotated[Path | None, typer.Option(help="Draw densities and REML estimates to this PNG, PDF or SVG.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the draws to this netCDF file, as the run goes on; a run that was ended is taken up by --resume.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Take up the run that wrote this file with -o, where it was ended; more --draws or --min-ess extend it. "
        "It is written again, unless -o names another file."
    ),
]
Posterior = Annotated[Path | None, typer.Option(help="Draws written by sample -o, in place of REML.")]

"""Other programs on the same data: R packages, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from answers import Answer, Problem, worst_of_draws

from bayesmv.relationship.pedigree import Pedigree

HERE = Path(__file__).parent
#: Families in the words of MCMCglmm; `threshold` is a probit with residual variance 1.
_FAMILIES = {"gaussian": "gaussian", "binary": "threshold", "ordered": "threshold", "poisson": "poisson"}


@cache
def missing(script: str) -> str | None:
    """Why an R script cannot be run, of the package up to its first underscore; None if it can."""
    package = script.partition("_")[0]
    if shutil.which("Rscript") is None:
        return "no Rscript"
    loads = subprocess.run(["Rscript", "-e", f"library({package})"], capture_output=True, check=False)
    return None if loads.returncode == 0 else f"R has no package {package}"


def run(package: str, problem: Problem, *words: object) -> Answer:
    """Run ``<package>.R`` on a problem; it prints its CPU seconds.

    A program that samples is given the name of a file to write its draws to, and families where there are any.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, parents = Path(folder) / "data.csv", Path(folder) / "pedigree.csv"
        problem.data.to_csv(data, index=False, na_rep="NA")
        if problem.pedigree is not None:
            _sorted(problem.pedigree).to_csv(parents, index=False, na_rep="NA")
        drawn = Path(folder) / "draws.csv"
        if problem.families:
            words = (",".join(_FAMILIES[problem.families.get(t, "gaussian")] for t in problem.traits), *words)
        samples = package.startswith("MCMCglmm")
        if samples:
            words = (drawn, *words)
        lists = [",".join(names) or "-" for names in (problem.traits, problem.terms, problem.fixed)]
        command = ["Rscript", str(HERE / f"{package}.R"), str(data), str(parents), *lists, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{package}.R failed: {done.stderr.strip()[-2000:]}")
        cpu, _ = done.stdout.split()[-2:]
        ess = worst_of_draws(pd.read_csv(drawn).to_numpy()[None]) if samples else None
    return Answer(cpu=float(cpu), ess=ess)


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """The pedigree as R packages want it: parents first, all of them with a row, NA where unknown."""
    whole = Pedigree.from_frame(frame)
    ids = np.append(whole.ids.astype(object), None)
    return pd.DataFrame({"animal": whole.ids, "sire": ids[whole.sire], "dam": ids[whole.dam]})

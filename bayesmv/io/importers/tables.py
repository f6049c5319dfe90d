"""Tables of R: sommer's components, lme4's ``as.data.frame(VarCorr(m))``, and the reading of any CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np

from bayesmv.errors import DataError
from bayesmv.io.importers.found import RESIDUALS, Component, Found, number


def rows_of(text: str, what: str, needed: Sequence[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Rows and columns of a CSV text; an empty first header is the column of R's row names.

    Raises
    ------
    DataError
        If a needed column is missing, or rows differ in length.
    """
    sample = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=sample.count)
    if sample.count(separator) == 0:
        raise DataError(f"{what} is not a table with columns; write it with write.csv")
    lines = list(csv.reader(io.StringIO(text.strip()), delimiter=separator))
    head = [name or "name" for name in lines[0]]
    if lines[1:] and len(lines[1]) == len(head) + 1:  # write.table does not name the column of names
        head = ["name", *head]
    absent = [name for name in needed if name not in head]
    if absent:
        raise DataError(f"{what} has no column '{absent[0]}'; it has {', '.join(head[:12])}")
    for number_of, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise DataError(f"{what}: line {number_of} has {len(line)} cells, not {len(head)}")
    return [dict(zip(head, line, strict=True)) for line in lines[1:]], head


def read_sommer(text: str) -> Found:
    """``summary(m)$varcomp`` of sommer: rows ``u:animal.bwt-tarsus``, columns VarComp and VarCompSE."""
    rows, columns = rows_of(text, "the table of sommer", ("VarComp",))
    out = []
    for row in rows:
        name = row[columns[0]]
        term, _, pair = name.rpartition(".")
        i, _, j = pair.partition("-")
        if not term or not j:
            raise DataError(f"'{name}' does not name a component of sommer, such as u:animal.bwt-tarsus")
        bare = re.sub(r"^u:", "", term)
        error = float(row["VarCompSE"]) if row.get("VarCompSE", "") not in ("", "NA") else float("nan")
        out.append(
            Component(
                term=RESIDUALS if bare in ("units", "rcov") else bare,
                trait_i=i,
                trait_j=j,
                value=np.array(number(row["VarComp"], f"'{name}'")),
                std_error=error,
            )
        )
    return Found(components=tuple(out))


def read_lme4(text: str) -> Found:
    """``as.data.frame(VarCorr(m))`` of lme4: grp, var1, var2, vcov; traits as levels of a factor, ``traitbden``."""
    rows, _ = rows_of(text, "the table of lme4", ("grp", "var1", "var2", "vcov"))
    out = []
    for row in rows:
        i = _trait(row["var1"])
        j = _trait(row["var2"]) or i
        residual = row["grp"] == "Residual"
        out.append(
            Component(
                term=RESIDUALS if residual else row["grp"],
                trait_i=i,
                trait_j=j,
                value=np.array(number(row["vcov"], f"{row['grp']} {row['var1']}")),
            )
        )
    return Found(components=tuple(out))


def _trait(word: str) -> str:
    return "" if word in ("", "NA", "(Intercept)") else re.sub(r"^(?:trait|variable|t)(?=\w)", "", word)

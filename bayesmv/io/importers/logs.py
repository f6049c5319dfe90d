"""Logs with matrices: BLUPF90's ``airemlf90.log``, WOMBAT's ``SumEstimates.out``."""

from __future__ import annotations

import re

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import DataError
from bayesmv.io.importers.found import RESIDUALS, Component, Found, number

_EFFECT = re.compile(r"^\s*Genetic variance\(s\) for effect\s+(?P<effect>\d+)")
_RESIDUAL = re.compile(r"^\s*Residual variance\(s\)")
_SE = re.compile(r"^\s*SE for (?P<of>[GR])\b")
_MINUS_2 = re.compile(r"-2\s*logL\s*=\s*(?P<value>[-+.\dED]+)")
_COVS = re.compile(
    r"COVS\s+(?P<letter>[A-Z])\s+(?P<i>\d+)\s+(?P<j>\d+)\s+(?P<value>[-+.\dED]+)(?:\s+(?P<error>[-+.\dED]+))?"
)
_HEADING = re.compile(r"\*{3,}\s*Estimates (?:for|of) (?:RE\s+\d+\s+)?\"?(?P<name>[^\"*]+?)\"?\s*(?:\*|$)")


def read_blupf90(text: str) -> Found:
    """Last ``Final Estimates`` of airemlf90.log: matrices of effects by number, traits by number, standard errors."""
    lines = text.splitlines()
    out = dict[str, tuple[Array, Array]]()
    order, errors = list[str](), {"G": list[Array](), "R": list[Array]()}
    for place, line in enumerate(lines):
        effect, error = _EFFECT.match(line), _SE.match(line)
        if effect is not None or _RESIDUAL.match(line):
            name = RESIDUALS if effect is None else f"effect {int(effect['effect'])}"
            matrix = _matrix(lines[place + 1 :])
            out[name] = (matrix, np.full_like(matrix, np.nan))
            if name not in order:
                order.append(name)
            errors = {"G": [], "R": []}
        elif error is not None:
            errors[error["of"]].append(_matrix(lines[place + 1 :]))
    if not out:
        raise DataError("the log holds no 'Genetic variance(s) for effect' and no 'Residual variance(s)'")
    genetic = [name for name in order if name != RESIDUALS]
    for of, names in (("G", genetic), ("R", [RESIDUALS])):
        for name, matrix in zip(names, errors[of], strict=False):
            if name in out and matrix.shape == out[name][0].shape:
                out[name] = (out[name][0], matrix)
    components = [
        Component(term=name, trait_i=str(i + 1), trait_j=str(j + 1), value=np.array(S[i, j]), std_error=float(se[i, j]))
        for name, (S, se) in out.items()
        for i in range(len(S))
        for j in range(i + 1)
    ]
    found = _MINUS_2.findall(text)
    loglik = -0.5 * number(found[-1], "-2 logL") if found else float("nan")
    return Found(components=tuple(components), loglik=loglik, constant=False)


def _matrix(lines: list[str]) -> Array:
    """Square matrix at the beginning of lines."""
    first = lines[0].split() if lines else []
    if not first:
        raise DataError("a matrix of the log is missing after its heading")
    rows = [[number(word, "a matrix of the log") for word in line.split()] for line in lines[: len(first)]]
    if any(len(row) != len(first) for row in rows) or len(rows) != len(first):
        raise DataError(f"a matrix of the log has not {len(first)} rows of {len(first)} numbers")
    return np.array(rows)


def read_wombat(text: str) -> Found:
    """Lines ``COVS A 1 2 value error`` of SumEstimates.out, under headings that name what they are of."""
    heading, out = "", list[Component]()
    for line in text.splitlines():
        told = _HEADING.search(line)
        if told is not None:
            heading = told["name"].strip()
            continue
        found = _COVS.search(line)
        if found is None:
            continue
        residual = (found["letter"] in "EZ" and "resid" in heading.lower()) or found["letter"] == "E"
        error = found["error"]
        out.append(
            Component(
                term=RESIDUALS if residual or "residual" in heading.lower() else heading or found["letter"],
                trait_i=found["i"],
                trait_j=found["j"],
                value=np.array(number(found["value"], f"the line '{line.strip()}'")),
                std_error=float("nan") if error is None else number(error, f"the line '{line.strip()}'"),
            )
        )
    if not out:
        raise DataError("SumEstimates.out holds no lines with COVS")
    return Found(components=tuple(out))

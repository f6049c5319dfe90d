"""Draws as CSV: ``VCV`` of MCMCglmm, draws of brms or Stan, samples of JWAS."""

from __future__ import annotations

import re

import numpy as np

from bayesmv.arrays import Array
from bayesmv.errors import DataError
from bayesmv.io.importers.found import RESIDUALS, Component, Found, number
from bayesmv.io.importers.tables import rows_of

_VCV = re.compile(r"^trait(?P<i>.+?):trait(?P<j>.+?)\.(?P<term>[^.].*)$")
_BRMS = {
    "sd": re.compile(r"^sd_(?P<term>.+?)__(?:(?P<i>.+)_)?Intercept$"),
    "cor": re.compile(r"^cor_(?P<term>.+?)__(?P<i>.+)_Intercept__(?P<j>.+)_Intercept$"),
    "sigma": re.compile(r"^sigma(?:_(?P<i>.+))?$"),
    "rescor": re.compile(r"^rescor__(?P<i>.+)__(?P<j>.+)$"),
}
#: Columns that say which chain a draw is of.
_CHAIN = (".chain", "chain", "Chain")


def read_mcmcglmm(text: str) -> Found:
    """``write.csv(m$VCV)`` of MCMCglmm: ``traitbwt:traittarsus.animal``, or ``animal`` of one trait."""
    columns = _columns(text, "the draws of MCMCglmm")
    out = []
    for name, values in columns.items():
        found = _VCV.match(name)
        if found is not None:
            out.append(Component(term=_term(found["term"]), trait_i=found["i"], trait_j=found["j"], value=values))
        else:
            out.append(Component(term=_term(name), value=values))
    note = "MCMCglmm's default prior is an inverse Wishart, which pulls correlations to 0 where data are weak"
    return Found(components=tuple(out), notes=(note,))


def read_brms(text: str) -> Found:
    """Draws of brms, or of Stan under its names: sd_, cor_, sigma, rescor."""
    out = []
    for name, values in _columns(text, "the draws of brms").items():
        for word, pattern in _BRMS.items():
            found = pattern.match(name)
            if found is None:
                continue
            parts = found.groupdict()
            i = parts.get("i") or ""
            out.append(
                Component(
                    term=parts.get("term") or RESIDUALS,
                    trait_i=i,
                    trait_j=parts.get("j") or i,
                    value=values,
                    kind="correlation" if "cor" in word else "sd",
                )
            )
            break
    if not out:
        raise DataError("no column of the draws is one of brms: sd_animal__bwt_Intercept, sigma_bwt …")
    return Found(components=tuple(out))


def read_jwas(text: str) -> Found:
    """Samples of variances of JWAS, ``bwt_bwt, bwt_tarsus``: of one term, whose name the user gives."""
    out = []
    for name, values in _columns(text, "the samples of JWAS").items():
        parts = name.split("_")
        half = len(parts) // 2
        if len(parts) % 2 or not half:
            i = j = name
        else:
            i, j = "_".join(parts[:half]), "_".join(parts[half:])
        i, j = (word.split(":", 1)[0] for word in (i, j))
        out.append(Component(term="", trait_i=i, trait_j=j, value=values))
    return Found(components=tuple(out))


def _term(name: str) -> str:
    return RESIDUALS if name in ("units", "Residual") else name


def _columns(text: str, what: str) -> dict[str, Array]:
    """Columns of numbers, (chains, draws) each; a column of row names is left out."""
    rows, head = rows_of(text, what, ())
    if not rows:
        raise DataError(f"{what} holds no draws")
    chain = next((name for name in _CHAIN if name in head), None)
    labels = np.array([row[chain] for row in rows]) if chain else np.zeros(len(rows), dtype=str)
    sizes = {label: int((labels == label).sum()) for label in dict.fromkeys(labels.tolist())}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{what}: chains have {', '.join(map(str, sizes.values()))} draws; give the same number of each"
        )
    out = {}
    for name in head:
        if name in ("name", "", ".iteration", ".draw", "iter", "Iteration") or name in _CHAIN:
            continue
        values = np.array([number(row[name], f"the column '{name}'") for row in rows])
        out[name] = np.stack([values[labels == label] for label in sizes])
    return out

"""ASReml: ``summary(m)$varcomp`` of ASReml-R as CSV, and the ``.asr`` file of the standalone program."""

from __future__ import annotations

import re

import numpy as np

from bayesmv.errors import DataError
from bayesmv.io.importers.found import RESIDUALS, Component, Found, number
from bayesmv.io.importers.tables import rows_of

#: ``trait_bden:bden``, ``trait.bden:veloc``, ``trait_bden``: effects of a component.
_PAIR = re.compile(r"^(?:\w+\([^)]*\)|\w+?)[._](?P<i>[^:!]+?)(?::(?P<j>[^:!]+))?$")
#: Line of the .asr file: name, structure and kind, row, column, gamma, sigma, ratio, per cent, constraint.
_ASR = re.compile(
    r"^\s*(?P<name>\S+)\s+(?P<kind>[A-Z]{2,4}_[VCR])\s+(?P<i>\d+)\s+(?P<j>\d+)\s+(?P<gamma>[-+.\dED]+)\s+"
    r"(?P<sigma>[-+.\dED]+)(?:\s+(?P<ratio>[-+.\dED]+))?\s+(?:[-+.\dE]+\s+)?(?P<flag>[PUFBSC?])\s*$"
)
_HEAD = re.compile(r"^\s*(?P<term>\S+)\s+(?P<n>\d+)\s+effects")
_LOGLIK = re.compile(r"LogL\s*=\s*(?P<value>[-+.\d]+)")
_RESIDUAL_WORDS = ("units", "r", "residual", "units:trait", "trait:units", "idv(units)")


def read_varcomp(text: str) -> Found:
    """Table of ``summary(m)$varcomp``, written by ``write.csv``."""
    rows, columns = rows_of(text, "the table of varcomp", ("component",))
    error = next((c for c in columns if c.lower() in ("std.error", "std_error", "se")), None)
    label = columns[0]
    out = list[Component]()
    scale: list[Component] = []
    for row in rows:
        name = row[label]
        term, _, rest = name.partition("!")
        value = number(row["component"], f"'{name}'")
        std_error = _error(row.get(error, "") if error else "")
        where = _term(term)
        if not rest and ":" not in term:
            out.append(Component(term=where, value=np.array(value), std_error=std_error))
            continue
        found = _PAIR.match(rest.removeprefix("us(").strip())
        if rest.lower() in ("r", "var", "variance") or found is None or rest.lower().endswith(".var"):
            scale.append(Component(term=where, value=np.array(value), std_error=std_error))
            continue
        i, j = found["i"], found["j"] or found["i"]
        kind = "correlation" if rest.endswith(".cor") else "covariance"
        out.append(Component(term=where, trait_i=i, trait_j=j, value=np.array(value), std_error=std_error, kind=kind))
    # The scale of a structure that stands beside it is 1 and says nothing; alone it is the variance.
    seen = {c.term for c in out}
    out += [c for c in scale if c.term not in seen]
    return Found(components=tuple(out), constant=False)


def _term(name: str) -> str:
    """Name of a term without the factor of traits: ``trait:Family`` → ``Family``."""
    parts = [p for p in re.split(r":(?![^(]*\))", name) if not re.fullmatch(r"(?:\w+\()?(?:trait|Trait)\)?", p)]
    bare = ":".join(parts) or name
    return RESIDUALS if bare.lower() in _RESIDUAL_WORDS or name.lower() in _RESIDUAL_WORDS else bare


def _error(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def read_asr(text: str) -> Found:
    """The ``.asr`` file: its last table of components, traits by number."""
    tables = re.split(r"^\s*Model_Term.*$", text, flags=re.MULTILINE)
    if len(tables) < 2:
        raise DataError("the .asr file holds no table of components, which begins with Model_Term")
    term, out = RESIDUALS, list[Component]()
    for line in tables[-1].splitlines():
        head = _HEAD.match(line)
        if head is not None:
            term = _term(head["term"].replace(".", ":"))
            continue
        found = _ASR.match(line)
        if found is None:
            continue
        value = number(found["sigma"], f"the line '{line.strip()}'")
        ratio = _error(found["ratio"] or "")
        own = _term(found["name"].replace(".", ":"))
        single = found["kind"].startswith(("IDV", "SCA", "NRM"))
        where = own if single or own.lower() not in ("trait",) else term
        places = ("", "") if single else (found["i"], found["j"])
        error = abs(value / ratio) if np.isfinite(ratio) and ratio else float("nan")
        out.append(Component(term=where, trait_i=places[0], trait_j=places[1], value=np.array(value), std_error=error))
    likelihoods = _LOGLIK.findall(text)
    loglik = number(likelihoods[-1], "LogL") if likelihoods else float("nan")
    return Found(components=tuple(out), loglik=loglik, constant=False)

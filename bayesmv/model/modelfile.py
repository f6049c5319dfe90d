"""Reading and writing of the tables of model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayesmv.covariance import Constraint
from bayesmv.errors import SpecError

_KEYS = {
    "name": str,
    "title": str,
    "data": str,
    "unit": str,
    "traits": list,
    "fixed": str,
    "random": str,
    "residual": str,
    "weights": str,
    "genetic": dict,
    "relationships": dict,
    "priors": dict,
    "matrices": dict,
    "constraints": dict,
}
_RELATIONSHIP_KEYS = {"pedigree", "id", "sire", "dam"}


def toml_key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else toml_value(key)


def toml_value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value if isinstance(value, int) else float(str(value)))


def as_table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"[{where}] must be a table of the model file, not {value!r}")
    return value


def check_values(values: Mapping[str, Any], path: Path) -> None:
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise SpecError(f"unknown entry '{unknown[0]}' in '{path}'; allowed: {', '.join(_KEYS)}")
    for key, value in values.items():
        if not isinstance(value, _KEYS[key]):
            raise SpecError(f"'{key}' in '{path}' must be a {_KEYS[key].__name__}, not {value!r}")
    if "traits" not in values:
        raise SpecError(f'\'{path}\' names no traits; add for example traits = ["bden", "veloc"]')
    if not all(isinstance(t, str) for t in values["traits"]):
        raise SpecError(f"'traits' in '{path}' must be a list of column names, not {values['traits']!r}")


def read_relationship_entries(values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    out = {}
    for name, entry in values.items():
        table = as_table(entry, f"relationships.{name}")
        unknown = sorted(set(table) - _RELATIONSHIP_KEYS)
        if unknown or "pedigree" not in table or not all(isinstance(v, str) for v in table.values()):
            raise SpecError(
                f"[relationships.{name}] needs 'pedigree' (a CSV file or dataset:<name>) and may name its columns "
                f"'id', 'sire', 'dam'"
            )
        out[name] = dict(table)
    return out


def read_constraints(values: Mapping[str, Any]) -> dict[str, dict[str, Constraint]]:
    out = {}
    for term, entry in values.items():
        table = as_table(entry, f"constraints.{term}")
        wrong = [k for k, v in table.items() if isinstance(v, bool) or not isinstance(v, int | float | str)]
        if wrong:
            raise SpecError(
                f"{wrong[0]!r} in [constraints.{term}] must be a number or the name of another parameter, "
                f"not {table[wrong[0]]!r}"
            )
        out[term] = {k: v if isinstance(v, str) else float(v) for k, v in table.items()}
    return out

"""Model files (TOML): reading and writing of the whole specification.

A file holds the words of a model, ``traits``, ``fixed``, ``random``, ``residual``, ``unit``, ``weights``, ``missing``,
``data``, ``name``, ``title``, and the tables ``[terms]`` (random terms by the names that they are given), ``[units]``,
``[genetic]``, ``[relationships.<name>]``, ``[priors.<term>]``, ``[matrices]`` and ``[constraints.<term>]``. What is
written is read back to an equal specification.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmv.covariance import Constraint
from bayesmv.errors import SpecError, require_known
from bayesmv.model.families import read_families
from bayesmv.model.formula import parse_fixed, parse_named, parse_random, parse_residual
from bayesmv.model.genetic import read_genetic
from bayesmv.model.kinship import checked_relationship
from bayesmv.model.reading import LongLayout, ReadOptions
from bayesmv.model.terms import RandomTerm
from bayesmv.model.textfile import read_text
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.relationship.labels import codes_of

if TYPE_CHECKING:
    from bayesmv.model.spec import ModelSpec

_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "title": str,
    "data": str,
    "read": dict,
    "long": dict,
    "unit": str,
    "traits": list,
    "fixed": str,
    "random": str,
    "terms": dict,
    "residual": str,
    "weights": str,
    "offset": (str, dict),
    "families": dict,
    "missing": list,
    "genetic": dict,
    "relationships": dict,
    "priors": dict,
    "matrices": dict,
    "constraints": dict,
    "units": dict,
}
#: What TOML calls these.
_WORDS: Mapping[type | tuple[type, ...], str] = {
    str: "string",
    list: "list",
    dict: "table",
    (str, dict): "string or a table",
}

# ---------------------------------------------------------------- reading


def read(path: Path) -> dict[str, Any]:
    """Arguments of a ModelSpec, from a model file.

    Raises
    ------
    SpecError
        If the file is absent, is not TOML, or has unknown or ill-typed entries.
    """
    return parse(read_text(path, "model file", SpecError), path)


def parse(text: str, path: Path) -> dict[str, Any]:
    """Arguments of a ModelSpec, from the text of a model file; `path` is for messages, names and relative files.

    Raises
    ------
    SpecError
        If it is not TOML, or has unknown or ill-typed entries.
    """
    return arguments(tables(text, path), path)


def tables(text: str, path: Path) -> dict[str, Any]:
    """Tables of a TOML text.

    Raises
    ------
    SpecError
        If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError of Python's own
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise SpecError(f"'{path}' is not valid TOML: {reason}") from None


def arguments(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of a ModelSpec, from the tables of a model file.

    Raises
    ------
    SpecError
        If there are unknown or ill-typed entries.
    """
    _check_values(values, path)
    n_traits = len(values["traits"])
    residual, by = parse_residual(values.get("residual", "us(trait):units"), n_traits)
    return {
        "traits": tuple(values["traits"]),
        "fixed": parse_fixed(values.get("fixed", "1")),
        "random": (
            *parse_random(values.get("random", ""), n_traits),
            *_read_terms(values.get("terms", {}), n_traits),
        ),
        "residual": residual,
        "residual_by": by,
        "weights": values.get("weights"),
        "offset": _read_offset(values.get("offset"), values["traits"]),
        "families": read_families(values.get("families")),
        "missing": codes_of(values["missing"], f"'missing' in '{path}'") if "missing" in values else None,
        "unit": values.get("unit"),
        "genetic": read_genetic(values["genetic"]) if "genetic" in values else None,
        "priors": _read_priors(values.get("priors", {})),
        "matrices": values.get("matrices", {}),
        "constraints": _read_constraints(values.get("constraints", {})),
        "relationships": _read_relationships(values.get("relationships", {})),
        "data": values.get("data"),
        "long": LongLayout.from_mapping(values["long"]) if "long" in values else None,
        "read": ReadOptions.from_mapping(values.get("read", {}), "[read]"),
        "units": _read_units(values.get("units", {})),
        "name": values.get("name", path.stem),
        "title": values.get("title", ""),
        "base": path.parent,
    }


def _read_units(values: Mapping[str, Any]) -> dict[str, str]:
    wrong = [trait for trait, unit in values.items() if not isinstance(unit, str)]
    if wrong:
        found = _shown(values[wrong[0]])
        raise SpecError(f'[units] gives the unit of each trait as text, {wrong[0]} = "kg", not {found}')
    return dict(values)


def _check_values(values: Mapping[str, Any], path: Path) -> None:
    require_known(values, _KEYS, f"unknown entry {{}} in '{path}'; allowed")
    for key, value in values.items():
        if not isinstance(value, _KEYS[key]):
            raise SpecError(f"'{key}' in '{path}' must be a {_WORDS[_KEYS[key]]}, not {_shown(value)}")
    if "traits" not in values:
        raise SpecError(f'\'{path}\' names no traits; add for example traits = ["bden", "veloc"]')
    if not all(isinstance(t, str) for t in values["traits"]):
        raise SpecError(f"'traits' in '{path}' must be a list of column names, not {_shown(values['traits'])}")


def _shown(value: object, most: int = 80) -> str:
    """Value as it is shown in a message: not all of a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, nesting without end
        return f"this {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"[{where}] must be a table of the model file, not {_shown(value)}")
    return value


def _read_offset(given: Any, traits: list[str]) -> dict[str, str]:
    by_trait = dict.fromkeys(traits, given) if isinstance(given, str) else dict(given or {})
    wrong = [trait for trait, column in by_trait.items() if not isinstance(column, str)]
    if wrong:
        raise SpecError(f"'offset' must be a column, or columns by trait, not {_shown(by_trait[wrong[0]])}")
    return by_trait


def _read_terms(values: Mapping[str, Any], n_traits: int) -> list[RandomTerm]:
    wrong = [name for name, text in values.items() if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise SpecError(
            f'[terms] must hold random terms by name, such as dominance = "us(trait):vm(id, D)", not '
            f"{wrong[0]} = {_shown(values[wrong[0]])}"
        )
    return [parse_named(name, text, n_traits) for name, text in values.items()]


def _read_priors(values: Mapping[str, Any]) -> dict[str, CovariancePrior]:
    return {term: CovariancePrior.from_mapping(_table(prior, f"priors.{term}"), term) for term, prior in values.items()}


def _read_relationships(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tables = {name: _table(entry, f"relationships.{name}") for name, entry in values.items()}
    return {name: checked_relationship(table, f"[relationships.{name}]") for name, table in tables.items()}


def _read_constraints(values: Mapping[str, Any]) -> dict[str, dict[str, Constraint]]:
    out = {}
    for term, entry in values.items():
        table = _table(entry, f"constraints.{term}")
        wrong = [k for k, v in table.items() if isinstance(v, bool) or not isinstance(v, int | float | str)]
        if wrong:
            raise SpecError(
                f"{wrong[0]!r} in [constraints.{term}] must be a number or the name of another parameter, "
                f"not {_shown(table[wrong[0]])}"
            )
        out[term] = {k: v if isinstance(v, str) else float(v) for k, v in table.items()}
    return out


# ---------------------------------------------------------------- writing


def write(spec: ModelSpec) -> str:
    """Text of the model file of a specification.

    Raises
    ------
    SpecError
        If a prior has no form in a model file.
    """
    entries: dict[str, Any] = {
        "name": spec.name,
        "title": spec.title,
        "data": spec.data,
        "unit": spec.unit,
        "traits": list(spec.traits),
        "fixed": spec.fixed_formula,
        "random": spec.random_formula,
        "residual": spec.residual_formula,
        "weights": spec.weights,
        "missing": None if spec.missing is None else list(spec.missing),
    }
    entries["offset"] = _offset(spec)
    lines = [f"{key} = {toml_value(value)}" for key, value in entries.items() if value not in (None, "")]
    tables: dict[str, Mapping[str, Any]] = {}
    if spec.read != ReadOptions():
        tables["read"] = spec.read.to_mapping()
    if spec.long is not None:
        tables["long"] = spec.long.to_mapping()
    if spec.families:
        tables["families"] = {trait: each.to_mapping() for trait, each in spec.families.items()}
    if spec.units:
        tables["units"] = spec.units
    if spec.genetic is not None:
        tables["genetic"] = spec.genetic.to_mapping()
    tables |= {f"relationships.{toml_value(k)}": v for k, v in spec.relationships.items()}
    tables |= {f"priors.{toml_value(k)}": _written(k, v) for k, v in spec.priors.items()}
    if spec.matrices:
        tables["matrices"] = {name: [list(row) for row in matrix] for name, matrix in spec.matrices.items()}
    tables |= {f"constraints.{toml_value(k)}": v for k, v in spec.constraints.items()}
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_key(key)} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _offset(spec: ModelSpec) -> str | dict[str, str] | None:
    """Offset as written: one column of all traits, or columns by trait."""
    columns = set(spec.offset.values())
    return columns.pop() if len(columns) == 1 and set(spec.offset) == set(spec.traits) else dict(spec.offset) or None


def _written(term: str, prior: CovariancePrior) -> dict[str, float]:
    try:
        return prior.to_mapping()
    except SpecError as error:
        raise SpecError(f"[priors.{term}]: {error}") from None


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else toml_value(key)


def toml_value(value: object) -> str:
    """Value as TOML has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {toml_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value if isinstance(value, int) else float(str(value)))

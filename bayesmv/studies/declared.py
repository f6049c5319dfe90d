"""Study as frozen data: which data sets, models, priors and methods; read from a TOML file."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from bayesmv.errors import SpecError, listing, require_known
from bayesmv.io.shipped import find_model
from bayesmv.model import modelfile
from bayesmv.model.spec import ModelSpec
from bayesmv.model.textfile import read_text
from bayesmv.priors.declarations import CovariancePrior
from bayesmv.sampling.settings import SamplerSettings

#: Methods of intervals: of REML by standard errors, by those of transformed quantities, by the profile likelihood, by
#: parametric bootstrap; highest-density intervals of the posterior.
METHODS = ("delta", "z", "profile", "bootstrap", "posterior")
#: Quantities that are recorded where a model states a genetic term, and where it does not.
GENETIC, COMPONENTS = ("heritability", "genetic correlation"), ("variance", "correlation")
_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str, "seed": int, "models": dict, "priors": dict, "methods": list, "parameters": list, "level": float,
    "posterior": dict, "bootstrap": int, "data": list, "simulate": list,
}  # fmt: skip
_DATA_KEYS = {"name": str, "path": str}
_SIMULATE_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str, "replicates": int, "model": str, "factors": (dict, list), "units": int, "layout": str,
    "heritability": (int, float, list), "genetic_correlation": (int, float, list), "shares": dict,
    "residual_correlation": (int, float, list), "covariances": dict, "means": dict,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """Data set of a study: one that exists, or one to simulate.

    Parameters
    ----------
    name
        Name of the entry.
    setting
        What distinguishes it from others of the entry, by name: sizes of factors, true parameters.
    replicate
        Number of the replicate, from 0; a data set that exists has one.
    path
        The data, of a data set that exists; empty for the one that a model names.
    simulate
        The entry that it is simulated from, else None.
    """

    name: str
    setting: Mapping[str, Any] = field(default_factory=dict)
    replicate: int = 0
    path: str = ""
    simulate: Simulated | None = None

    @property
    def key(self) -> str:
        """Name that no other case of the study has."""
        told = ",".join(f"{name}={value:.12g}" for name, value in sorted(self.setting.items()))
        return f"{self.name}[{told}]/{self.replicate}"


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Trials to simulate: a layout, and true covariance matrices or the parameters that make them.

    Parameters
    ----------
    model
        Model that is simulated from.
    factors, units
        Factors whose levels are all crossed, by their numbers of levels, and units of every combination.
    layout
        File of a layout, instead.
    heritability, genetic_correlation, residual_correlation, shares
        Truth in units of the phenotypic variance: of the genetic term of the model; `shares` are of other terms, whose
        effects are uncorrelated among traits.
    covariances
        Truth as matrices by term, instead.
    means
        Means by trait, 0 by default.
    """

    model: str
    factors: Mapping[str, int] = field(default_factory=dict)
    units: int = 1
    layout: str = ""
    heritability: float = 0.3
    genetic_correlation: float = 0.0
    residual_correlation: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    covariances: Mapping[str, Any] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """Study: cases × models × priors × methods.

    Parameters
    ----------
    name
        Its name.
    seed
        Seed, from which every case has its own.
    models
        Models by name.
    priors
        Sets of priors by name, of posteriors; ``{"default": {}}`` if not given.
    methods
        Methods of intervals, of :data:`METHODS`.
    parameters
        Quantities that are recorded, by name; by default heritabilities and genetic correlations, or the variances
        and correlations of a model without a genetic term.
    level
        Level of all intervals.
    posterior
        Settings of the sampler.
    bootstrap
        Replicates of a parametric bootstrap.
    cases
        The data sets.
    base
        Folder that relative file names start from.
    """

    name: str
    seed: int = 1
    models: Mapping[str, ModelSpec]
    priors: Mapping[str, Mapping[str, CovariancePrior]]
    methods: tuple[str, ...] = ("delta", "posterior")
    parameters: tuple[str, ...] = ()
    level: float = 0.95
    posterior: Mapping[str, Any] = field(default_factory=dict)
    bootstrap: int = 200
    cases: tuple[Case, ...]
    base: Path = Path()

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Study of a file (TOML).

        Raises
        ------
        SpecError
            If the file is absent, is not TOML, or has unknown or ill-typed entries.
        """
        return cls.from_toml(read_text(Path(path), "study file", SpecError), path)

    @classmethod
    def from_toml(cls, text: str, path: str | Path = "study.toml") -> Self:
        """Study of the text of a file; `path` is for messages and relative files."""
        given = modelfile.tables(text, Path(path))
        check_entries(given, _KEYS, str(path))
        models = models_of(given.get("models", {}), Path(path))
        spec = cls(
            name=given.get("name", Path(path).stem),
            seed=given.get("seed", 1),
            models=models,
            priors=_priors(given.get("priors", {"default": {}})),
            methods=_words(given, "methods", ("delta", "posterior")),
            parameters=_words(given, "parameters", ()),
            level=given.get("level", 0.95),
            posterior=given.get("posterior", {}),
            bootstrap=given.get("bootstrap", 200),
            cases=tuple(_cases(given, models)),
            base=Path(path).parent,
        )
        require_known(spec.methods, METHODS, "unknown method {}; methods")
        if not 0.0 < spec.level < 1.0:
            raise SpecError(f"the level must be between 0 and 1, not {spec.level}")
        if spec.bootstrap < 20:
            raise SpecError(f"a bootstrap of {spec.bootstrap} replicates has no tails; give 20 or more")
        _settings(spec.posterior)
        return spec

    @property
    def identity(self) -> str:
        """Digest of all that results depend on, but the number of replicates."""
        parts = {
            "seed": self.seed,
            "models": {name: replace(model, base=Path()).to_toml() for name, model in self.models.items()},
            "priors": repr(self.priors),
            "methods": self.methods,
            "parameters": self.parameters,
            "level": self.level,
            "posterior": dict(self.posterior),
            "bootstrap": self.bootstrap,
            "cases": sorted({repr((case.name, dict(case.setting), case.path, case.simulate)) for case in self.cases}),
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def check_entries(values: Mapping[str, Any], known: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    require_known(values, known, f"unknown entry {{}} in '{where}'; allowed")
    for name, value in values.items():
        kind = known[name]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in kinds):
            raise SpecError(f"'{name}' in '{where}' must be a {' or '.join(k.__name__ for k in kinds)}, not {value!r}")


def _words(given: Mapping[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = given.get(name, list(default))
    if not all(isinstance(word, str) for word in found):
        raise SpecError(f"'{name}' must hold words, not {found!r}")
    return tuple(dict.fromkeys(found))


def models_of(given: Mapping[str, Any], path: Path) -> dict[str, ModelSpec]:
    """Models by name: files beside the study or names of shipped ones, or tables with the entries of a model file."""
    if not given:
        raise SpecError(f"'{path}' names no models; add for example [models] us = \"trial.toml\"")
    out = {}
    for name, entry in given.items():
        if isinstance(entry, str):
            beside = path.parent / entry
            out[name] = ModelSpec.from_file(beside if beside.exists() else find_model(Path(entry)))
        elif isinstance(entry, Mapping):
            out[name] = ModelSpec(**modelfile.arguments(entry, path))
        else:
            raise SpecError(f"[models] {name} must be a model file or a table of one, not {entry!r}")
    return out


def _priors(given: Mapping[str, Any]) -> dict[str, dict[str, CovariancePrior]]:
    out: dict[str, dict[str, CovariancePrior]] = {}
    for name, terms in given.items():
        if not isinstance(terms, Mapping) or not all(isinstance(entry, Mapping) for entry in terms.values()):
            raise SpecError(f"[priors.{name}] must hold priors by term, as [priors] of a model file does")
        out[name] = {term: CovariancePrior.from_mapping(entry, term) for term, entry in terms.items()}
    return out


def _settings(words: Mapping[str, Any]) -> SamplerSettings:
    try:
        return SamplerSettings(**words)
    except TypeError:
        known = [name for name in SamplerSettings.__dataclass_fields__ if not name.startswith("_")]
        require_known(words, known, "unknown entry {} in [posterior]; allowed")
        raise


def _cases(given: Mapping[str, Any], models: Mapping[str, ModelSpec]) -> Iterator[Case]:
    entries = [("data", entry) for entry in given.get("data", [])] + [
        ("simulate", e) for e in given.get("simulate", [])
    ]
    if not entries:
        raise SpecError("the study has no data; add [[data]] or [[simulate]]")
    names = list[str]()
    for kind, entry in entries:
        if not isinstance(entry, Mapping):
            raise SpecError(f"[[{kind}]] must be a table")
        check_entries(entry, _DATA_KEYS if kind == "data" else _SIMULATE_KEYS, f"[[{kind}]]")
        names.append(entry.get("name", f"{kind} {len(names) + 1}"))
        if names[-1] in names[:-1]:
            raise SpecError(f"two entries are named '{names[-1]}'; give each a name of its own")
        if kind == "data":
            yield Case(name=names[-1], path=entry.get("path", ""))
        else:
            yield from simulations(names[-1], entry, models)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def simulations(name: str, entry: Mapping[str, Any], models: Mapping[str, ModelSpec]) -> Iterator[Case]:
    """Cases of an entry: every combination of what is listed, in replicates."""
    model = entry.get("model", next(iter(models)))
    require_known([model], models, f"no model {{}} for [[simulate]] {name}; models")
    if ("layout" in entry) == ("factors" in entry):
        raise SpecError(f"[[simulate]] {name} needs factors, such as {{ family = 20, block = 4 }}, or a layout file")
    made = ("heritability", "genetic_correlation", "residual_correlation", "shares")
    if "covariances" in entry and any(word in entry for word in made):
        raise SpecError(f"[[simulate]] {name}: give covariances, or {listing(made)}, not both")
    grid = {word: _listed(entry[word]) for word in made[:3] if word in entry}
    factors = _listed(entry.get("factors", {}))
    if not all(isinstance(f, Mapping) and all(isinstance(n, int) and n > 0 for n in f.values()) for f in factors):
        raise SpecError(f"[[simulate]] {name}: factors must be numbers of levels, such as {{ family = 20, block = 4 }}")
    if not all(isinstance(v, int | float) for values in grid.values() for v in values):
        raise SpecError(f"[[simulate]] {name}: {listing(grid)} must be numbers or lists of them")
    for levels in factors:
        for values in itertools.product(*grid.values()):
            truth = dict(zip(grid, map(float, values), strict=True))
            simulated = Simulated(
                model=model,
                factors=levels,
                units=entry.get("units", 1),
                layout=entry.get("layout", ""),
                shares=entry.get("shares", {}),
                covariances={
                    term: np.array(S, dtype=float).tolist() for term, S in entry.get("covariances", {}).items()
                },
                means=entry.get("means", {}),
                **truth,
            )
            for replicate in range(entry.get("replicates", 100)):
                yield Case(name=name, setting=dict(levels) | truth, replicate=replicate, simulate=simulated)

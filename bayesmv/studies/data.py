"""Data sets of a study: those that exist, and simulated ones with the covariance matrices they were made from."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.dims import RESIDUAL
from bayesmv.errors import SpecError, require_known
from bayesmv.io.files import read_data
from bayesmv.io.relationships import read_relationships
from bayesmv.io.tables import read_table
from bayesmv.model.genetic import ADDITIVE_FACTOR
from bayesmv.model.spec import ModelSpec
from bayesmv.simulation.simulate import simulate_model
from bayesmv.studies.declared import Case, Simulated, StudySpec


class DataSet(NamedTuple):
    """Records of a case, and true covariance matrices by term; None of data that exist."""

    table: pd.DataFrame
    truth: dict[str, Array] | None = None


def data_of(study: StudySpec, case: Case, model: ModelSpec) -> DataSet:
    """Records of a case; of existing data as a model reads them."""
    if case.simulate is None:
        return DataSet(read_data(model, study.base / case.path if case.path else None))
    simulated = case.simulate
    spec = study.models[simulated.model]
    layout = layout_of(study.base, simulated, spec)
    truth = true_covariances(simulated, spec)
    return DataSet(
        simulate_model(
            spec,
            layout,
            means={trait: simulated.means.get(trait, 0.0) for trait in spec.traits},
            covariances=truth,
            relationships=read_relationships(spec, layout),
            rng=np.random.default_rng(seed_of(study, case)),
        ),
        truth,
    )


def seed_of(study: StudySpec, case: Case) -> np.random.SeedSequence:
    """Seed of a case: of the study's seed and its own name, whichever cases there are besides."""
    return np.random.SeedSequence([study.seed, zlib.crc32(case.key.encode())])


def layout_of(base: Path, simulated: Simulated, spec: ModelSpec) -> pd.DataFrame:
    """One row a unit, with a column for each factor; levels have as many digits as the last."""
    if simulated.layout:
        return read_table(base / simulated.layout, spec.read, spec.missing or ())
    levels = [[f"{i + 1:0{len(str(n))}d}" for i in range(n)] for n in simulated.factors.values()]
    cells = list(itertools.product(*levels, range(simulated.units)))
    return pd.DataFrame([cell[:-1] for cell in cells], columns=list(simulated.factors), dtype=str)


def true_covariances(simulated: Simulated, spec: ModelSpec) -> dict[str, Array]:
    r"""Covariance matrices of the terms, from those given, or from heritability and correlations.

    With a phenotypic variance of 1 over all terms, ``V_A = h² V_P`` for the V_P of the model, ``σ² = V_A / k`` of the
    genetic term (:data:`bayesmv.model.genetic.ADDITIVE_FACTOR`), and the residual has what is left.

    Raises
    ------
    SpecError
        If a term has no covariance, the model no genetic term, or nothing is left for the residual.
    """
    names = [*(term.name for term in spec.random), RESIDUAL]
    if simulated.covariances:
        return {name: np.asarray(S, dtype=float) for name, S in simulated.covariances.items()}
    genetic = spec.genetic
    if genetic is None:
        raise SpecError(f"the model '{simulated.model}' states no genetic term for a heritability; give covariances")
    others = [name for name in names if name not in (genetic.term, RESIDUAL)]
    require_known(simulated.shares, others, "a share is given for {}; other terms of the model")
    require_known(others, simulated.shares, "no share is given for {}; given")
    t = len(spec.traits)
    left_out = [] if genetic.phenotypic is None else [name for name in others if name not in genetic.phenotypic]
    phenotypic = 1.0 - sum(float(simulated.shares[name]) for name in left_out)
    own = simulated.heritability * phenotypic / ADDITIVE_FACTOR[genetic.relationship]
    residual = 1.0 - own - sum(map(float, simulated.shares.values()))
    if residual <= 0.0:
        raise SpecError(
            f"heritability {simulated.heritability:g} of {genetic.relationship} levels and the shares leave "
            f"{residual:.3g} of the variance for the residual"
        )
    out = {name: float(simulated.shares[name]) * np.eye(t) for name in others}
    out[genetic.term] = own * _alike(t, simulated.genetic_correlation)
    out[RESIDUAL] = residual * _alike(t, simulated.residual_correlation)
    return out


def _alike(t: int, r: float) -> Array:
    return np.asarray((1.0 - r) * np.eye(t) + r)


def setting_columns(case: Case) -> Mapping[str, Any]:
    """What a row says of its case."""
    return {
        "key": case.key,
        "case": case.name,
        "replicate": case.replicate,
        **{f"at_{k}": v for k, v in case.setting.items()},
    }

"""REML fits on disk: the variables and dimensions of a posterior, without chains and draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv._version import __version__
from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.design.model_record import ModelRecord
from bayesmv.design.saved import read_tree, write_tree
from bayesmv.errors import SpecError, listing
from bayesmv.likelihood.protocol import EffectEquations, RestrictedLikelihood
from bayesmv.reml.delta import Uncertainty
from bayesmv.reml.result import RemlFit
from bayesmv.reml.solution import blup_table

#: Groups of a saved fit: estimates by the names of a posterior's variables, and what standard errors come from.
_ESTIMATES, _INFORMATION = "estimates", "information"


def save_fit(fit: RemlFit, path: str | Path) -> None:
    """Write a fit, with fixed effects and BLUPs, whole or not at all."""
    attributes: dict[str, Any] = {
        **fit.record.to_attributes(),
        "loglik": fit.loglik,
        "iterations": fit.iterations,
        "converged": int(fit.converged),
        "given": int(fit.given),
        "engine": fit.engine_name,
        "version": __version__,
    }
    groups = {_ESTIMATES: _estimates(fit), _INFORMATION: _information(fit)}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(attributes)
    write_tree(tree, path)


def _estimates(fit: RemlFit) -> xr.Dataset:
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name in fit.record.names:
        effects, sigma = fit.record.effects_of(name), fit.covariances[name]
        i, j = dims.effect_dims(name, effects, fit.record.traits)
        coords |= {i: list(effects), j: list(effects)}
        for as_correlation, title, matrix in (
            (False, dims.covariance_name(name), sigma),
            (True, dims.correlation_name(name), fit.correlations[name]),
        ):
            variables[title] = ((i, j), matrix)
            variables[dims.error_name(title)] = ((i, j), _errors(fit, name, as_correlation))
        variables[dims.sd_name(name)] = ((i,), np.sqrt(np.diag(sigma)))
    variables |= {
        dims.FIXED: (dims.COEFFICIENT, fit.fixed["estimate"]),
        dims.error_name(dims.FIXED): (dims.COEFFICIENT, fit.fixed["std_error"]),
        "fixed_trait": (dims.COEFFICIENT, list(map(str, fit.fixed["trait"]))),
        "fixed_variable": (dims.COEFFICIENT, list(map(str, fit.fixed["effect"]))),
    }
    coords[dims.COEFFICIENT] = [f"{t}:{v}" for t, v in zip(fit.fixed["trait"], fit.fixed["effect"], strict=True)]
    for name in fit.record.names[:-1]:
        variables |= _blups(fit, name, coords)
    return xr.Dataset(variables, coords)


def _errors(fit: RemlFit, name: str, as_correlation: bool) -> Array:
    m = len(fit.record.effects_of(name))
    out = np.full((m, m), np.nan)
    for i, j in fit.record.structure(name).support:
        if i != j or not as_correlation:
            out[i, j] = out[j, i] = fit.component(name, i, j, as_correlation)[1]
    return out


def _blups(fit: RemlFit, name: str, coords: dict[str, Any]) -> dict[str, Any]:
    table, effects = fit.effects(name), fit.record.effects_of(name)
    title, m = dims.effect_name(name), len(effects)
    where = (dims.level_dim(name), dims.effect_dims(name, effects, fit.record.traits)[0])
    coords[dims.level_dim(name)] = [str(level) for level in table["level"].iloc[::m]]
    shapes = {title: "blup", dims.error_name(title): "std_error", f"{title}_reliability": "reliability"}
    return {variable: (where, table[column].to_numpy().reshape(-1, m)) for variable, column in shapes.items()}


def _information(fit: RemlFit) -> xr.Dataset:
    what = fit.uncertainty
    return xr.Dataset(
        {
            "theta": ("parameter", fit.theta),
            "gradient": ("parameter", fit.gradient),
            "directions": (("component", "direction"), what.directions),
            "information": ("direction", what.information),
        }
    )


def load_fit(path: str | Path) -> RemlFit:
    """Read a REML fit that :meth:`RemlFit.to_netcdf` wrote.

    Its tables, comparisons, fixed effects and BLUPs are as they were; what needs the records (``fit.design``,
    simulation) is refused.

    Parameters
    ----------
    path
        The netCDF file.

    Raises
    ------
    SpecError
        If the file is absent, is not netCDF, or holds no REML fit.
    """
    tree = read_tree(path)
    if _ESTIMATES not in tree.children or _INFORMATION not in tree.children:
        raise SpecError(f"'{path}' holds no REML fit; groups: {listing(tree.children) or 'none'}")
    record, values = ModelRecord.read(tree), tree[_INFORMATION].to_dataset()
    return RemlFit(
        record=record,
        theta=values["theta"].to_numpy(),
        loglik=float(tree.attrs["loglik"]),
        gradient=values["gradient"].to_numpy(),
        iterations=int(tree.attrs["iterations"]),
        converged=bool(tree.attrs["converged"]),
        given=bool(tree.attrs["given"]),
        engine_name=str(tree.attrs["engine"]),
        solution=_SavedSolution(
            estimates=tree[_ESTIMATES].to_dataset(),
            directions=values["directions"].to_numpy(),
            information=values["information"].to_numpy(),
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _SavedSolution:
    """Solution read from a file."""

    estimates: xr.Dataset
    directions: Array
    information: Array

    @property
    def design(self) -> Design:
        """Refused: records are not saved."""
        raise self._refusal("its design")

    @property
    def engine(self) -> RestrictedLikelihood:
        """Refused: records are not saved."""
        raise self._refusal("its engine")

    @property
    def equations(self) -> EffectEquations:
        """Refused: records are not saved."""
        raise self._refusal("the mixed-model equations")

    @staticmethod
    def _refusal(what: str) -> SpecError:
        return SpecError(f"a loaded fit holds no records, and so not {what}; build the design and fit it again")

    def uncertainty(self, fit: RemlFit) -> Uncertainty:
        """Uncertainty as it was saved."""
        return Uncertainty(
            directions=self.directions, information=self.information, unit=fit.record.component_unit, given=fit.given
        )

    def fixed(self, fit: RemlFit) -> pd.DataFrame:
        """Fixed effects as they were saved."""
        saved = self.estimates
        table = pd.DataFrame(
            {
                "trait": saved["fixed_trait"].to_numpy().astype(str),
                "effect": saved["fixed_variable"].to_numpy().astype(str),
                "estimate": saved[dims.FIXED].to_numpy(),
                "std_error": saved[dims.error_name(dims.FIXED)].to_numpy(),
            }
        )
        return table.assign(z_ratio=table["estimate"] / table["std_error"])

    def effects(self, fit: RemlFit, term: str) -> pd.DataFrame:
        """BLUPs as they were saved."""
        title = dims.effect_name(term)
        if title not in self.estimates:
            raise SpecError(f"no random term '{term}'; random terms: {listing(fit.record.names[:-1])}")
        arrays = [self.estimates[n].to_numpy() for n in (title, dims.error_name(title), f"{title}_reliability")]
        levels = pd.Index(self.estimates[dims.level_dim(term)].to_numpy().astype(str))
        return blup_table(levels, fit.record.effects_of(term), *arrays)

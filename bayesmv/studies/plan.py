"""Planning: what trials of given sizes can be expected to tell, and the best of them for a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from bayesmv.arrays import Array, Shown
from bayesmv.design.design import Design, build_design
from bayesmv.design.model_record import ModelRecord
from bayesmv.errors import SpecError, require_known
from bayesmv.estimates.genetic import GeneticParameter
from bayesmv.estimates.parameters import parameters_of
from bayesmv.estimates.points import slopes
from bayesmv.io.relationships import read_relationships
from bayesmv.likelihood.expected import expected_information
from bayesmv.model import modelfile
from bayesmv.model.spec import ModelSpec
from bayesmv.model.textfile import read_text
from bayesmv.reml.delta import Uncertainty
from bayesmv.studies.data import layout_of, true_covariances
from bayesmv.studies.declared import GENETIC, Simulated, check_entries, models_of, simulations

_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str, "models": dict, "design": dict, "cost": dict, "budget": (int, float), "level": float,
}  # fmt: skip
_COLUMNS = ("units", "cost", "parameter", "trait_i", "trait_j", "truth", "std_error", "width", "power")


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Shown):
    """Expected precision of designs.

    Parameters
    ----------
    table
        A row for every design, truth and quantity: sizes of factors and true parameters (``at_…``), units, cost,
        parameter, trait_i, trait_j, truth, std_error (expected, of REML), width (of the interval of estimate ± its
        reach), power (of the test that the quantity is 0: one-sided for heritabilities, two-sided for correlations).
    budget
        The most that a design may cost; None for no limit.
    name
        Name of the plan.
    """

    table: pd.DataFrame
    budget: float | None = None
    name: str = "plan"

    def best(self, parameter: str = "genetic correlation", budget: float | None = None) -> pd.Series[Any]:
        """Design with the least standard error, on average over traits and truths, that the budget allows.

        Raises
        ------
        SpecError
            If there is no such parameter, or none is within the budget.
        """
        mine = self.table[self.table["parameter"] == parameter]
        if mine.empty:
            require_known([parameter], list(dict.fromkeys(self.table["parameter"])), "no parameter {}; there are")
        most = budget if budget is not None else self.budget
        affordable = mine if most is None else mine[mine["cost"] <= most]
        if affordable.empty:
            raise SpecError(f"no design costs at most {most:g}; the cheapest costs {mine['cost'].min():g}")
        sizes = self.sizes
        measures = ["units", "cost", "std_error", "width", "power"]
        errors = pd.DataFrame(affordable.groupby(sizes, as_index=False)[measures].mean())
        return errors.sort_values("std_error", kind="stable").iloc[0]

    @property
    def sizes(self) -> list[str]:
        """Columns of the sizes of factors."""
        truths = ("at_heritability", "at_genetic_correlation", "at_residual_correlation")
        return [c for c in map(str, self.table.columns) if c.startswith("at_") and c not in truths]

    def summary(self) -> str:
        """How many designs, and the best."""
        lines = [f"{self.name}: {len(self.table[self.sizes].drop_duplicates())} designs"]
        for parameter in dict.fromkeys(self.table["parameter"]):
            best = self.best(parameter)
            told = ", ".join(f"{name.removeprefix('at_')} {best[name]:g}" for name in self.sizes)
            within = "" if self.budget is None else f" within {self.budget:g}"
            lines.append(
                f"{parameter}: best{within} {told} ({best['units']:g} units, cost {best['cost']:g}): s.e. "
                f"{best['std_error']:.3f}, power {best['power']:.2f}"
            )
        return "\n".join(lines)


def plan(source: str | Path | Mapping[str, Any]) -> Plan:
    r"""Expected standard errors of heritabilities and genetic correlations for designs that are not yet made.

    The expected information of the restricted likelihood is computed exactly at the parameters given, without
    simulation, and carried to the quantities by the delta method: an approximation that holds where the standard error
    is small beside the range of the quantity. Where it is not (a correlation with 0.5), a study says what intervals do.

    Parameters
    ----------
    source
        Plan file (TOML), or its tables: ``models`` as in a study; ``design`` as a ``[[simulate]]`` of a study, in which
        the sizes of factors may be lists too; ``cost`` by unit and by level of a factor, ``{unit = 1, family = 5}``;
        ``budget``; ``level``.

    Returns
    -------
    Plan
        Every design, and the best for the budget.

    Raises
    ------
    SpecError
        If the plan is malformed, or the expected information of a design is not known.

    References
    ----------
    Robertson (1959), Biometrics 15:469-485; Visscher (1998), J. Anim. Sci. 76:1-12.
    """
    if isinstance(source, Mapping):
        given, path = dict(source), Path("plan")
    else:
        path = Path(source)
        given = modelfile.tables(read_text(path, "plan file", SpecError), path)
    check_entries(given, _KEYS, str(path))
    models = models_of(given.get("models", {}), path)
    if "design" not in given:
        raise SpecError(f"'{path}' has no [design]")
    level = given.get("level", 0.95)
    entry = {**given["design"], "replicates": 1}
    if "factors" in entry:
        entry["factors"] = _crossed(entry["factors"])
    rows = list[dict[str, Any]]()
    for case in simulations("design", entry, models):
        assert case.simulate is not None
        rows += _rows(
            case.setting, case.simulate, models[case.simulate.model], path.parent, given.get("cost", {}), level
        )
    settings = [name for name in rows[0] if name.startswith("at_")]
    table = pd.DataFrame(rows, columns=[*settings, *_COLUMNS])
    return Plan(table=table, budget=given.get("budget"), name=given.get("name", path.stem))


def _crossed(factors: Any) -> Any:
    """Every combination of sizes that are listed."""
    if not isinstance(factors, Mapping):
        return factors
    out: list[dict[str, Any]] = [{}]
    for name, sizes in factors.items():
        out = [{**known, name: size} for known in out for size in (sizes if isinstance(sizes, list) else [sizes])]
    return out


def _rows(
    setting: Mapping[str, Any],
    simulated: Simulated,
    spec: ModelSpec,
    base: Path,
    cost: Mapping[str, Any],
    level: float,
) -> list[dict[str, Any]]:
    layout = layout_of(base, simulated, spec)
    truth = true_covariances(simulated, spec)
    design = design_of(spec, layout)
    own = {
        **{f"at_{name}": value for name, value in setting.items()},
        "units": len(layout),
        "cost": _cost(cost, simulated.factors, len(layout)),
    }
    out = []
    for p, value, error in expected_errors(design, truth):
        reach = float(ndtri(0.5 + 0.5 * level)) * error
        two_sided = p.name != "heritability"
        quantile = float(ndtri(0.975 if two_sided else 0.95))
        power = float(
            ndtr(abs(value) / error - quantile) + (ndtr(-abs(value) / error - quantile) if two_sided else 0.0)
        )
        out.append(
            own
            | {
                "parameter": p.name,
                "trait_i": p.trait_i,
                "trait_j": p.trait_j,
                "truth": value,
                "std_error": error,
                "width": 2 * reach,
                "power": power,
            }
        )
    return out


def _cost(cost: Mapping[str, Any], factors: Mapping[str, int], units: int) -> float:
    require_known(cost, ["unit", *factors], "a cost is given for {}; there are")
    return float(sum(each * (units if name == "unit" else factors[name]) for name, each in cost.items()))


def design_of(spec: ModelSpec, layout: pd.DataFrame) -> Design:
    """Design of a layout; its records stand in for those to come, and nothing depends on them."""
    rng = np.random.default_rng(0)
    table = layout.assign(**{trait: rng.standard_normal(len(layout)) for trait in spec.traits})
    return build_design(spec, table, read_relationships(spec, table))


def expected_errors(
    design: Design, covariances: Mapping[str, Array], names: Sequence[str] = GENETIC
) -> list[tuple[GeneticParameter, float, float]]:
    """Genetic parameters at given covariances, each with its value and its expected standard error.

    Parameters
    ----------
    design
        The design.
    covariances
        True covariance matrices, in the units of the data.
    names
        Names of the parameters.
    """
    record = ModelRecord.of(design)
    genetic = record.genetic
    if genetic is None:
        raise SpecError("a plan is of heritabilities and genetic correlations; the model states no genetic term")
    sigmas = [design.to_working_units(name, np.asarray(covariances[name], dtype=float)) for name in design.names]
    theta = design.blocks.from_matrices(sigmas)
    J = design.blocks.jacobian(theta)
    uncertainty = Uncertainty.of(J, J.T @ expected_information(design, sigmas) @ J, record.component_unit)
    ordered = {name: np.asarray(covariances[name], dtype=float) for name in design.names}
    found = slopes(ordered, record.component_unit, parameters_of(record, genetic))
    return [(p, value, uncertainty.judge(gradient)[0]) for p, value, gradient in found if p.name in names]

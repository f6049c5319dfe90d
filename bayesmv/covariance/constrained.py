"""Parameters of a structure held at values or equated to one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import CovarianceStructure, Parameter
from bayesmv.covariance.held import HeldCorrelations
from bayesmv.covariance.linear import Unstructured
from bayesmv.errors import SpecError, listing, require_known

type Constraint = float | str


class Selection(NamedTuple):
    """θ_full = offset + weights · free[source], each (n_full,); source is -1 where θ is held."""

    offset: Array
    weights: Array
    source: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Constrained(CovarianceStructure):
    """Another structure with parameters held or equated.

    Parameters
    ----------
    inner
        The structure.
    held
        Parameters that are held, and their natural values in the units of the data.
    equal
        Pairs of parameters with equal natural values.
    labels
        Labels of the effects (m,).
    scale
        Units of the effects (m,).
    """

    inner: CovarianceStructure
    held: tuple[tuple[int, float], ...]
    equal: tuple[tuple[int, int], ...]
    labels: tuple[str, ...]
    scale: tuple[float, ...]

    @property
    def word(self) -> str:  # type: ignore[override]
        """ASReml's word of the structure."""
        return self.inner.word

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def reports_correlations(self) -> bool:  # type: ignore[override]
        """Whether covariances are reported as correlations."""
        return self.inner.reports_correlations

    @property
    def needs_pilot(self) -> bool:  # type: ignore[override]
        """Whether REML needs a start with covariances."""
        return self.inner.needs_pilot

    @property
    def ties_scales(self) -> bool:  # type: ignore[override]
        """Whether variances of different traits are equated."""
        return self.inner.ties_scales

    @cached_property
    def selection(self) -> Selection:
        """Map from the free θ to those of the structure."""
        parameters, scale = self.inner.parameters(self.labels), np.array(self.scale)
        leader = list(range(len(parameters)))
        for a, b in self.equal:
            leader = [leader[a] if x == leader[b] else x for x in leader]
        values = {leader[p]: value for p, value in self.held}
        free = {p: k for k, p in enumerate(x for x in dict.fromkeys(leader) if x not in values)}
        offset, weights, source = np.zeros(len(leader)), np.zeros(len(leader)), np.full(len(leader), -1)
        for p, parameter in enumerate(parameters):
            unit = parameter.scale(scale)
            if leader[p] in values:
                offset[p] = parameter.theta(values[leader[p]] / unit)
                continue
            source[p] = free[leader[p]]
            weights[p] = (parameters[leader[p]].scale(scale) / unit) ** parameter.power
        return Selection(offset, weights, source)

    @cached_property
    def leaders(self) -> npt.NDArray[np.intp]:
        """First parameter of the structure that every free θ is, (n_parameters,)."""
        source = self.selection.source
        return np.array([np.flatnonzero(source == k)[0] for k in range(self.n_parameters)], dtype=np.intp)

    @cached_property
    def expansion(self) -> Array:
        """dθ_full/dθ, (n_full, n_parameters)."""
        _, weights, source = self.selection
        return np.asarray(weights[:, None] * (source[:, None] == np.arange(self.n_parameters)))

    def full(self, theta: Array) -> Array:
        """θ of the structure: (…, n_parameters) → (…, n_full)."""
        return np.asarray(self.selection.offset + theta @ self.expansion.T)

    @property
    def n_parameters(self) -> int:
        return int(self.selection.source.max(initial=-1)) + 1

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        kinds = self.inner.anchor[self.leaders]
        return np.where(kinds < 0, kinds, np.arange(self.n_parameters))

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        return self.inner.positive[self.leaders]

    @property
    def support(self) -> tuple[tuple[int, int], ...]:
        return self.inner.support

    @property
    def max_rank(self) -> int:
        inside = self.matrix(np.full(self.n_parameters, 0.7))
        return min(self.inner.max_rank, int(np.linalg.matrix_rank(inside, hermitian=True)))

    def matrix(self, theta: Array) -> Array:
        return self.inner.matrix(self.full(theta))

    def jacobian(self, theta: Array) -> Array:
        return np.asarray(np.einsum("kab,kp->pab", self.inner.jacobian(self.full(theta)), self.expansion))

    def curvature(self, theta: Array, gradient: Array) -> Array:
        return np.asarray(self.expansion.T @ self.inner.curvature(self.full(theta), gradient) @ self.expansion)

    def _selected(self, full: Array) -> Array:
        _, weights, source = self.selection
        means = [np.mean(full[source == k] / weights[source == k]) for k in range(self.n_parameters)]
        return np.array(means, dtype=float)

    def from_matrix(self, sigma: Array) -> Array:
        return self._selected(self.inner.from_matrix(sigma))

    def canonical(self, theta: Array) -> Array:
        full = self.full(theta)
        canonical = self._selected(self.inner.canonical(full))
        # A rotation or a change of sign of the structure's own may break what is held.
        kept = np.allclose(self.inner.matrix(self.full(canonical)), self.inner.matrix(full), rtol=1e-9, atol=1e-12)
        return canonical if kept else theta

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        every = self.inner.parameters(labels)
        return tuple(every[p] for p in self.leaders)

    def edges(self, theta: Array) -> npt.NDArray[np.bool_]:
        return self.inner.edges(self.full(theta))[self.leaders]

    def rescaled(self, scale: Array) -> CovarianceStructure:
        return replace(self, inner=self.inner.rescaled(scale), scale=tuple(float(x) for x in scale))

    def loadings(self, theta: Array) -> tuple[Array, Array] | None:
        return self.inner.loadings(self.full(theta))


def constrained(
    structure: CovarianceStructure, constraints: Mapping[str, Constraint], labels: Sequence[str]
) -> CovarianceStructure:
    """Structure with parameters held at values or equated.

    Parameters
    ----------
    structure
        The structure.
    constraints
        For the name of a parameter a value in the units of the data, or the name of another parameter.
    labels
        Labels of the effects (m,).

    Raises
    ------
    SpecError
        If a parameter does not exist, or cannot be held or equated.
    """
    if not constraints:
        return structure
    if isinstance(structure, Unstructured):
        structure, constraints = _with_correlations(structure, constraints, labels)
        if not constraints:
            return structure
    if not structure.separable:
        raise SpecError(
            f"the parameters of {structure.name} have no meaning one by one and cannot be constrained; use us, diag, "
            f"corh, ante or fa, whose parameters can"
        )
    parameters = structure.parameters(labels)
    places = {p.name: k for k, p in enumerate(parameters)}
    asked = [*constraints, *(x for x in constraints.values() if isinstance(x, str))]
    require_known(asked, places, f"{structure.name} has no parameter {{}}; parameters")
    held = tuple((places[name], float(x)) for name, x in constraints.items() if not isinstance(x, str))
    equal = tuple((places[name], places[x]) for name, x in constraints.items() if isinstance(x, str))
    for a, b in equal:
        _check_alike(parameters[a], parameters[b])
    twice = [name for name, x in constraints.items() if isinstance(x, str) and x == name]
    if twice:
        raise SpecError(f"the parameter {listing(twice)} is equated to itself")
    out = Constrained(structure.size, structure, held, equal, tuple(labels), (1.0,) * structure.size)
    _check_held_once(out)
    _ = out.selection
    return out


def _with_correlations(
    structure: Unstructured, constraints: Mapping[str, Constraint], labels: Sequence[str]
) -> tuple[HeldCorrelations, dict[str, Constraint]]:
    """Unstructured covariance with the correlations held that are named, and the constraints that are left.

    Raises
    ------
    SpecError
        If correlations cannot be held together, or one is equated to another.
    """
    pairs = {
        f"cor[{labels[a]},{labels[b]}]": (max(a, b), min(a, b)) for a in range(len(labels)) for b in range(len(labels))
    }
    held: dict[tuple[int, int], float] = {}
    rest: dict[str, Constraint] = {}
    for name, value in constraints.items():
        place = pairs.get(name)
        if place is None or place[0] == place[1]:
            rest[name] = value
        elif isinstance(value, str):
            raise SpecError(
                f"{name} cannot be equated to {value}: correlations of {structure.name} are held at numbers"
            )
        else:
            held[place] = float(value)
    triples = tuple((i, j, value) for (i, j), value in held.items())
    return HeldCorrelations(structure.size, triples, structure.word, tuple(labels)), rest


def _check_alike(a: Parameter, b: Parameter) -> None:
    nameless = [(replace(p, name="", unit=None, per=None), p.unit is None, p.per is None) for p in (a, b)]
    if nameless[0] != nameless[1]:
        raise SpecError(f"{a.name} and {b.name} are quantities of different kinds and cannot be equal")


def _check_held_once(structure: Constrained) -> None:
    groups = [{p, *(q for pair in structure.equal if p in pair for q in pair)} for p, _ in structure.held]
    both = [p for k, (p, _) in enumerate(structure.held) if any(p in g for g in groups[:k])]
    if both:
        names = [structure.inner.parameters(structure.labels)[p].name for p in both]
        raise SpecError(f"{listing(names)} is both held and equated to a parameter that is held; keep one of the two")

r"""Exact posterior of covariances and location effects where some traits are not Gaussian, in coordinates for NUTS.

The log density of (θ, s), s the location effects whitened by their factors (:mod:`bayesmv.likelihood.latent`), is taken
in coordinates (z, w) in which it is nearly standard normal:

.. math:: x = \hat x + C z, \quad θ = θ(x), \quad s = T(θ) G(x) + P'\hat L^{-T} (e^{-κ(x)} ∘ w)

with x̂ the mode of the Laplace marginal posterior and CC' its inverse information, L̂ the Cholesky factor of the
Hessian of s there, T G the mode of s given θ, G = K Z'g of the slopes g of the records, and κ the change of the
logarithms of the diagonal of L with θ. At w = 0 the density is the Laplace marginal. The map chooses coordinates only:
what is sampled is exact. G and κ are tabulated through x̂ along each x, or, of several that are correlated with each
other, along their principal axes, in low rank, and constant beyond the tables.

Coordinates of θ: half-lines σ = unit · log(1 + e^{2x}) / 2 of single scales, and half-spaces of rows with more
(:mod:`.coordinates`). Fixed effects of threshold traits, and thresholds, are relative to √(1 + Σ σ² / v), v the
variance of the link. Effects are centred in part: u = h V with h = σ / √(1 + σ² / τ²), V ~ N(0, (1 + σ²/τ²) K), where
1/τ² is the information on a level, so that the posterior precision of V is 1 whatever σ.

Source: Kristensen, Nielsen, Berg, Skaug & Bell (2016), J. Stat. Softw. 70(5) (Laplace marginal); Papaspiliopoulos,
Roberts & Sköld (2007), Stat. Sci. 22:59-73 (partial centring).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, override

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bayesmv.arrays import Array, IntArray
from bayesmv.covariance import CovarianceStructure, Unstructured
from bayesmv.errors import SpecError
from bayesmv.families.declared import (
    Binomial,
    Censored,
    Family,
    Gaussian,
    NegativeBinomial,
    Ordered,
    Poisson,
    ZeroInflatedPoisson,
)
from bayesmv.likelihood.latent import LaplaceLikelihood
from bayesmv.likelihood.latent.engine import State, Undefined
from bayesmv.numerics.supernodes import Supernodes
from bayesmv.numerics.symmetric import symmetric_lu
from bayesmv.posterior import latent_kernels as kernels
from bayesmv.posterior import latent_places as places
from bayesmv.posterior.coordinate_kernels import constrain, pull_rows
from bayesmv.posterior.coordinates import BEND, PLANAR_UNIT, PlanarCoordinates
from bayesmv.posterior.held_residual import with_rows
from bayesmv.posterior.latent_places import Place, Shape
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.posterior.square_factors import SquareFactors, is_square
from bayesmv.posterior.suited import restructured

#: Largest standard deviation of a log scale, in the Laplace posterior, at which data count as tight.
TIGHT = 0.25
#: The same without liabilities: records of counts say more of a level when its scale is large, not less. Found on 11
#: simulated trials of counts, 4 to 15 blocks: better up to 0.41, worse from 0.5 on.
TIGHT_WITHOUT = 0.45
#: Error of a table that is allowed, in posterior standard deviations.
_TABLE = 0.3
#: Most functions that a table of an axis is made of.
_RANK = 4
#: Correlation in the Laplace posterior above which coordinates share the axes of their tables.
CORRELATED = 0.5
#: Highest variance of z, in the units of x.
_WIDEST = 9.0
#: Steps of differences by x.
_STEP = 0.1


@dataclass(frozen=True)
class HalfLineCoordinates(PlanarCoordinates):
    """Planar coordinates with single scales on a half-line, linear upwards and exponential downwards.

    Parameters
    ----------
    anchor, unit
        See :class:`PlanarCoordinates`.
    held
        Values of coordinates that are held, NaN for those that are free, which x is of; none by default.
    """

    held: Array | None = None

    @cached_property
    def free(self) -> IntArray:
        """Parameters whose coordinates are free."""
        whole = np.arange(len(self.anchor))
        return whole if self.held is None else whole[np.isnan(self.held)]

    @cached_property
    def free_scales(self) -> npt.NDArray[np.bool_]:
        """Which free coordinates are of scales."""
        return np.asarray(self.scales[self.free])

    def whole(self, x: Array) -> Array:
        """Coordinates with those that are held, (…, free) → (…, d)."""
        if len(self.free) == len(self.anchor):
            return x
        out = np.broadcast_to(np.asarray(self.held), (*x.shape[:-1], len(self.anchor))).copy()
        out[..., self.free] = x
        return out

    @override
    def constrain(self, x: Array) -> Array:
        return super().constrain(self.whole(x))

    @override
    def unconstrain(self, theta: Array, smallest: Array | float = 0.0) -> Array:
        return super().unconstrain(theta, smallest)[self.free]

    @override
    def log_jacobian(self, x: Array) -> float:
        return super().log_jacobian(self.whole(x))

    @override
    def pullback(self, x: Array, by_theta: Array) -> Array:
        whole, by_x = self.whole(x), by_theta.copy()
        self._pull_rows(whole, super().constrain(whole), by_theta, by_x)
        self._pull_others(whole, by_theta, by_x)
        return by_x[self.free]

    @override
    def _constrain_rows(self, x: Array, theta: Array) -> None:
        if x.ndim == 1:
            constrain(self.anchor, self.unit, False, x, theta)
            return
        super()._constrain_rows(x, theta)
        for d in self._alone:
            theta[..., d] = self.unit[d] * np.logaddexp(0.0, BEND * x[..., d]) / BEND

    @override
    def _unconstrain_rows(self, theta: Array, x: Array) -> None:
        super()._unconstrain_rows(theta, x)
        for d in self._alone:
            b = max(float(theta[d]) / self.unit[d], 1e-8)
            x[d] = b + np.log(-np.expm1(-BEND * b)) / BEND

    @override
    def _log_jacobian_rows(self, x: Array) -> float:
        return float(constrain(self.anchor, self.unit, False, x, np.empty_like(x)))

    @override
    def _pull_rows(self, x: Array, theta: Array, by_theta: Array, by_x: Array) -> None:
        by_x[:] = pull_rows(self.anchor, self.unit, False, x, theta, by_theta)

    @cached_property
    def _alone(self) -> list[int]:
        return [d for d, off in self.rows if not len(off)]


class Wanted(NamedTuple):
    """Trait of every fixed effect, and of every level that is wanted the term and the first unknown."""

    trait: IntArray
    term: IntArray
    first: IntArray

    def size(self, sizes: IntArray) -> int:
        """How many numbers these are, from the effects of every term."""
        return len(self.trait) + int(sizes[self.term].sum())


class Table(NamedTuple):
    """Basis (rows, m) of a table along a coordinate, and its weights at even nodes, (m, nodes)."""

    first: float
    width: float
    basis: Array
    nodes: Array


def low_rank(values: Array, first: float, width: float, error: Callable[[int, Array], float]) -> Table:
    """Table (rows, nodes) of as few functions as keep its error under what is allowed at every node."""
    U, S, Vt = np.linalg.svd(values, full_matrices=False)
    m = 0
    while m < min(_RANK, len(S)):
        m += 1
        rest = values - (U[:, :m] * S[:m]) @ Vt[:m]
        if max(error(j, rest[:, j]) for j in range(values.shape[1])) < _TABLE:
            break
    return Table(first, width, np.ascontiguousarray(U[:, :m] * S[:m]), np.ascontiguousarray(Vt[:m]))


def _directions(covariance: Array, d: int, scales: npt.NDArray[np.bool_]) -> Array:
    """Directions of the tables, of length one standard deviation, in columns, (size, size).

    Coordinates that are correlated with each other have their principal axes, others their own.
    """
    n = len(covariance)
    sd = np.sqrt(np.diag(covariance))
    r = covariance / np.outer(sd, sd)
    _, label = sparse.csgraph.connected_components(sparse.csr_array(np.abs(r) > CORRELATED))
    out = np.zeros((n, n))
    for each in np.unique(label):
        mine = np.flatnonzero(label == each)
        values, vectors = np.linalg.eigh(r[np.ix_(mine, mine)])
        # Upwards is where the first scale grows.
        first = next((i for i, k in enumerate(mine) if k < d and scales[k]), 0)
        signs = np.where(vectors[first] < 0.0, -1.0, 1.0)
        out[np.ix_(mine, mine)] = sd[mine, None] * vectors * signs * np.sqrt(np.maximum(values, 1e-6))
    return out


def _axes(tables: Sequence[Table]) -> tuple[Array, Array]:
    """Direction, first node, distance and number of nodes of every function of tables, and its values at the nodes."""
    rows = [(k, t.first, t.width, t.nodes.shape[1]) for k, t in enumerate(tables) for _ in t.nodes]
    nodes = np.concatenate([t.nodes for t in tables]) if rows else np.zeros((0, 1))
    return np.array(rows, dtype=float).reshape(-1, 4), np.ascontiguousarray(nodes)


def _bases(tables: Sequence[Table], q: int) -> Array:
    return np.ascontiguousarray(np.concatenate([np.zeros((q, 0)), *(t.basis for t in tables)], axis=1))


class LatentPosterior:
    """Joint posterior of θ and the location effects; see the head of this file.

    Parameters
    ----------
    posterior
        Design, priors and structures.
    """

    def __init__(self, posterior: LogPosterior) -> None:
        design = posterior.design
        *of_terms, residual = posterior.blocks.structures
        rows, held = with_rows(residual)
        #: The posterior with a residual of which compiled code knows the rows.
        self.by_rows = replace(posterior, design=restructured(design, [*of_terms, rows]))
        blocks = self.blocks = self.by_rows.blocks
        self.slices = blocks.slices
        for name, structure in zip(design.names[:-1], blocks.structures, strict=False):
            if not is_square(structure) and structure.max_rank < structure.size:
                raise SpecError(
                    f"a posterior of traits that are not Gaussian needs a structure of {name} of full rank, as fa has, "
                    f"not {structure.name}"
                )
        self.factors = SquareFactors(blocks.structures[:-1])
        self.posterior, self.design = posterior, design
        self.engine = LaplaceLikelihood(design)
        unit = np.full(blocks.n_parameters, PLANAR_UNIT)
        # Residuals of Gaussian traits are far from 0, and those of liabilities are 1.
        known = [f.linear or f.link_variance > 0.0 for f in design.families]
        unit[blocks.slices[-1]] = np.where(self._residual_kinds(known), 0.0, PLANAR_UNIT)
        none = np.full(blocks.n_parameters - len(held), np.nan)
        self.coordinates = HalfLineCoordinates(blocks.anchor, unit, np.concatenate([none, held]))
        #: Coordinates of the structures, and all of them with those of free numbers of families.
        self.d = len(self.coordinates.free)
        self.size = self.d + sum(f.n_free for f in design.families)
        self._layout()

    def _residual_kinds(self, known: Sequence[bool]) -> Array:
        """Which residual parameters are of traits whose residuals are far from 0."""
        structure = self.blocks.structures[-1]
        n = structure.n_parameters
        if not n:
            return np.zeros(0, dtype=bool)
        J = structure.jacobian(np.ones(n))
        return np.array([any(J[p, t, t] != 0.0 and far for t, far in enumerate(known)) for p in range(n)])

    def _layout(self) -> None:
        p, design = self.engine.predictor, self.design
        self._sizes = [s.size for s in self.blocks.structures]
        self._fixed_trait = np.nonzero(design.fixed.present)[1]
        groups = [np.zeros(p.first[0], dtype=np.int64)]
        begin = 1
        for term in design.terms:
            m = len(term.effects)
            groups.append(np.tile(np.arange(begin, begin + m), len(term.levels)))
            begin += m
        self.drawn_trait = p.trait[p.drawn_record].astype(np.int64)
        groups.append(begin + self.drawn_trait)
        self._group = np.concatenate(groups).astype(np.int64)
        self._n_groups = begin + len(design.traits)
        self._count_of_group = np.bincount(self._group, minlength=self._n_groups).astype(float)
        self._slopes_to = [self._incidence(k) for k in range(len(design.terms))]
        self._solvers = [None if term.relationship is None else symmetric_lu(term.precision) for term in design.terms]
        y, sizes = self.engine._y.copy(), np.ones(len(p.unit))
        for family, rows in zip(self.engine._families, self.engine._records, strict=True):
            if isinstance(family, Binomial):
                sizes[rows] = family.size
            if isinstance(family, Censored):
                y[rows], sizes[rows] = family.upper, family.lower
                exact = rows[family.exact]
                y[exact] = sizes[exact] = 0.0
        self._record_arrays = (y, sizes, p.trait.astype(np.int64), self._own_mix())
        self._codes = np.array([_code(f) for f in design.families], dtype=np.int64)
        prior = p.prior.tocsr()
        self._prior = (prior.indptr.astype(np.int64), prior.indices.astype(np.int64), prior.data.astype(float))

        self.shape = self._shape()

    def _shape(self) -> Shape:
        design, K, t = self.design, len(self.design.terms), len(self.design.traits)
        width = max([t, *self._sizes[:-1]])
        pivot, trait_of, parts = np.zeros((K, width), dtype=np.int64), np.zeros((K, width), dtype=np.int64), []
        square = zip(design.terms, self.factors.structures, self.factors.slices, strict=False)
        for k, (term, structure, at) in enumerate(square):
            pivot[k, : structure.size] = _pivot_rows(structure)
            trait_of[k, : structure.size] = term.trait_of
            if structure.placement is not None:
                row, column, parameter, weight = structure.placement
                parts.append((np.full(len(row), k), row, column, parameter + at.start, weight))
        none = np.zeros(0, dtype=np.int64)
        term_of, row, column, parameter = (np.concatenate([none, *(p[i] for p in parts)]) for i in range(4))
        gaps = [(f.n_free, len(f.thresholds) if isinstance(f, Ordered) else 0) for f in design.families]
        conditioning = self.engine.predictor.conditioning
        return Shape(
            term=term_of,
            row=row,
            column=column,
            parameter=parameter,
            weight=np.concatenate([np.zeros(0), *(p[4] for p in parts)]),
            sizes=np.array(self._sizes[:-1], dtype=np.int64),
            pivot=pivot,
            trait_of=trait_of,
            link=np.array([float(f.link_variance) for f in design.families]),
            gaps=np.array(gaps, dtype=np.int64),
            families=self._codes,
            tau=np.full((K + 1, width), np.inf),
            counts=self._count_of_group,
            fixed=np.bincount(self._fixed_trait, minlength=t).astype(float),
            residuals=(conditioning.kinds, conditioning.order, conditioning.records),
        )

    def _own_mix(self) -> IntArray:
        """Place of the number M of every record with itself, (N,)."""
        p = self.engine.predictor
        out = np.zeros(len(p.unit), dtype=np.int64)
        own = p.pair_row == p.pair_source
        out[p.pair_row[own]] = p.pair_mix[own]
        return out

    def _incidence(self, k: int) -> sparse.csr_array:
        """Z' of a term: derivatives by latent values before conditioning to levels × effects, (q m, N)."""
        p, m, t = self.engine.predictor, len(self.design.terms[k].effects), len(self.design.traits)
        record = np.repeat(np.arange(len(p.unit)), np.diff(p.indptr))
        e, j = np.divmod(p.entry - p.factor_start[k], m)
        itself = (p.mix // t) % t == p.mix % t
        mine = itself & (p.entry >= p.factor_start[k]) & (p.entry < p.factor_start[k + 1]) & (j == 0)
        level = (p.column[p.slot[mine]] - p.first[k]) // m
        shape = (len(self.design.terms[k].levels) * m, len(p.unit))
        return sparse.csr_array((p.weight[mine], (level * m + e[mine], record[p.slot[mine]])), shape=shape)

    def place(self, x: Array) -> Place:
        """What depends on x (size,) alone."""
        theta = self.coordinates.constrain(x[: self.d])
        return Place(*places.placed(self.factors.of(theta), self.residual(theta), x[self.d :], self.shape))

    def stated(self, theta: Array) -> Array:
        """Parameters of the structures of the model, (…, d), from those with the residual by rows."""
        residual = self.posterior.blocks.structures[-1]
        if residual is self.blocks.structures[-1]:
            return theta
        at = self.slices[-1]
        R = self.blocks.structures[-1].matrix(theta[..., at])
        each = [residual.from_matrix(one) for one in R.reshape(-1, *R.shape[-2:])]
        return np.concatenate([theta[..., : at.start], np.reshape(each, (*theta.shape[:-1], -1))], axis=-1)

    def residual(self, theta: Array) -> Array:
        """Residual covariances R, (t, t)."""
        return np.ascontiguousarray(self.blocks.structures[-1].matrix(theta[self.slices[-1]]))

    def families(self, place: Place) -> tuple[Family, ...]:
        """Families with the numbers of a place."""
        return tuple(
            f.numbered(place.numbers(t, f))
            for t, f in enumerate(self.engine.scaled(self.engine._families, place.mixing))
        )

    def marginal(self, x: Array) -> tuple[float, State, Place]:
        """Laplace marginal log posterior at x, with what it was found from; raises :class:`Undefined`."""
        place = self.place(x)
        flat = np.concatenate([np.zeros(0), *(self.factor(place, k).reshape(-1) for k in range(len(self._sizes) - 1))])
        with np.errstate(over="ignore", invalid="ignore"):
            state = self.engine.at_mode(self.engine.place(flat, place.mixing, self.families(place)))
        return state.value + self._prior_of(x), state, place

    def factor(self, place: Place, k: int) -> Array:
        """F of a term, (m, m)."""
        m = self._sizes[k]
        return place.factors[k, :m, :m]

    def _prior_of(self, x: Array) -> float:
        """Log prior of θ and thresholds, with the Jacobian of x."""
        logs = x[self.d :]
        value = self.by_rows.prior(self.coordinates.constrain(x[: self.d]))[0] + self.coordinates.log_jacobian(
            x[: self.d]
        )
        return float(value - 0.5 * logs @ logs)

    def start(self) -> Array:
        """Point x to look for the mode from: a fifth of the liability, or of the log scale, each term."""
        # Correlated, so that factors of loadings have a direction to begin with.
        sigmas = [
            0.25 * np.eye(len(term.effects)) if is_square(structure) else 0.15 * np.eye(structure.size) + 0.1
            for term, structure in zip(self.design.terms, self.blocks.structures, strict=False)
        ]
        sigmas.append(np.diag([f.link_variance or 0.4 for f in self.design.families]))
        theta = self.blocks.from_matrices(sigmas)
        free = [f.free for f in self.engine.started(self.engine._families)]
        return np.concatenate([self.coordinates.unconstrain(theta, 1e-3), *free])


def _pivot_rows(structure: CovarianceStructure) -> IntArray:
    out = np.arange(structure.size)
    if structure.placement is not None:
        row, column, parameter, _ = structure.placement
        scale = structure.anchor[parameter] == parameter
        out[column[scale]] = row[scale]
    return out


def best_known_first(latent: LatentPosterior) -> tuple[LatentPosterior, Array | None]:
    """Posterior with the rows of unstructured factors in the order in which the data know their standard deviations.

    A row is steepest where those before it are known: with the weakest first, a sampler takes a third as many effective
    draws from the same number. Returned with a point near its mode, if one was found.
    """
    posterior = latent.posterior
    structures = list(posterior.blocks.structures)
    if not any(isinstance(s, Unstructured) and s.size > 1 for s in structures[:-1]):
        return latent, None
    x, information = laplace_mode(latent)
    covariance = np.linalg.inv(information)
    h = 1e-5

    def logs(x: Array, k: int) -> Array:
        F = latent.factor(latent.place(x), k)
        return np.asarray(0.5 * np.log((F**2).sum(axis=1)))

    for k, structure in enumerate(structures[:-1]):
        if isinstance(structure, Unstructured) and structure.size > 1:
            J = np.stack([(logs(x + e, k) - logs(x - e, k)) / (2 * h) for e in h * np.eye(len(x))], axis=1)
            sd = np.sqrt(np.einsum("ix,xy,iy->i", J, covariance, J))
            structures[k] = replace(structure, order=tuple(np.argsort(sd).tolist()))
    ordered = LatentPosterior(replace(posterior, design=restructured(posterior.design, structures)))
    theta = ordered.blocks.from_matrices(latent.blocks.matrices(latent.coordinates.constrain(x[: latent.d])))
    return ordered, np.append(ordered.coordinates.unconstrain(theta, 1e-6), x[latent.d :])


def _code(family: Family) -> int:
    if isinstance(family, Binomial):
        return places.PROBIT if family.link == "probit" else places.LOGIT
    kinds = {
        Gaussian: places.GAUSSIAN,
        Censored: places.CENSORED,
        Poisson: places.POISSON,
        NegativeBinomial: places.NEGATIVE_BINOMIAL,
        ZeroInflatedPoisson: places.ZERO_INFLATED,
        Ordered: places.ORDERED,
    }
    return kinds[type(family)]


def _panel_rows(symbolic: Supernodes) -> IntArray:
    """Row of every number of the panels of a factor."""
    parts = []
    for s in range(len(symbolic.start) - 1):
        begin, end = symbolic.start[s], symbolic.start[s + 1]
        rows = np.concatenate([np.arange(begin, end), symbolic.rows[symbolic.row_start[s] : symbolic.row_start[s + 1]]])
        parts.append(np.tile(rows, end - begin))
    return np.concatenate(parts).astype(np.int64)


def _columns(symbolic: Supernodes, row: IntArray, factor: Array) -> tuple[Any, ...]:
    """Columns of a factor below the diagonal without zeros: begins, rows, entries, and one over the diagonal.

    Solving for one right side with them takes half the time that panels do, whose zeros are many.
    """
    width, below = np.diff(symbolic.start), np.diff(symbolic.row_start)
    column = np.repeat(np.arange(symbolic.start[-1]), np.repeat(width + below, width))
    inverse = np.empty(symbolic.start[-1])
    inverse[row[row == column]] = 1.0 / factor[row == column]
    kept = (row > column) & (factor != 0.0)
    begin = np.concatenate([[0], np.cumsum(np.bincount(column[kept], minlength=len(inverse)))])
    # Unsigned: compiled code need not ask whether an index is negative.
    return begin, row[kept].astype(np.uint32), factor[kept], inverse


def laplace_mode(latent: LatentPosterior, start: Array | None = None) -> tuple[Array, Array]:
    """Mode of the Laplace marginal posterior by x, and its information, by differences.

    Newton's method; on the way there the information, 2d² values of the density, is kept and updated by the change of
    the gradient (BFGS), 2d values a step.

    Parameters
    ----------
    latent
        The posterior.
    start
        Point to look from.
    """
    x = latent.start() if start is None else start
    information, whole, before = np.eye(len(x)), False, None
    for _ in range(60 if len(x) else 0):
        here, slope, curve = _by_axes(latent, x)
        if before is None:
            information, whole = _information(latent, x, here, curve), True
        elif not whole:
            information = _updated(information, x - before[0], before[1] - slope)
        moved = _uphill(latent, x, here, information, slope)
        if moved is None and not whole:
            information, whole = _information(latent, x, here, curve), True
            moved = _uphill(latent, x, here, information, slope)
        if moved is None:
            break
        before, whole, x = (x, slope), False, moved
    return x, information


def _uphill(latent: LatentPosterior, x: Array, here: float, information: Array, slope: Array) -> Array | None:
    """Point that is higher along a Newton step; None where the step promises little, or none of it is."""
    step = _newton_step(information, slope)
    if not float(slope @ step) >= 1e-3:
        return None
    length = 1.0
    while length > 1e-3:
        if _value(latent, x + length * step) > here:
            return np.asarray(x + length * step)
        length *= 0.5
    return None


def _value(latent: LatentPosterior, x: Array) -> float:
    try:
        return latent.marginal(x)[0]
    except Undefined:
        return -np.inf


def _by_axes(latent: LatentPosterior, x: Array) -> tuple[float, Array, Array]:
    """Value, slopes and negative curvatures along the axes."""
    here, E = _value(latent, x), _STEP * np.eye(len(x))
    up, down = (np.array([_value(latent, x + sign * e) for e in E]) for sign in (1.0, -1.0))
    # Where there is no value on one side, as far down as on the other it is up; on both, nothing is known.
    up, down = np.where(np.isfinite(up), up, 2 * here - down), np.where(np.isfinite(down), down, 2 * here - up)
    known = np.isfinite(up) & np.isfinite(down)
    slope, curve = np.zeros(len(x)), np.full(len(x), 1.0 / _WIDEST)
    slope[known] = ((up - down) / (2 * _STEP))[known]
    curve[known] = ((2 * here - up - down) / _STEP**2)[known]
    return here, slope, curve


def _information(latent: LatentPosterior, x: Array, here: float, curve: Array) -> Array:
    """Information at x, its eigenvalues positive."""
    E, H = _STEP * np.eye(len(x)), np.diag(curve)
    for i in range(len(x)):
        for j in range(i):
            cross = _value(latent, x + E[i] + E[j]) + _value(latent, x - E[i] - E[j])
            cross -= _value(latent, x + E[i] - E[j]) + _value(latent, x - E[i] + E[j])
            H[i, j] = H[j, i] = -cross / (4 * _STEP**2) if np.isfinite(cross) else 0.0
    values, vectors = np.linalg.eigh(H)
    return np.asarray((vectors * np.maximum(np.abs(values), 1.0 / _WIDEST)) @ vectors.T)


def _updated(information: Array, moved: Array, change: Array) -> Array:
    """BFGS update by a move and the fall of the gradient along it."""
    if moved @ change < 1e-8 * float(moved @ moved):
        return information
    along = information @ moved
    return np.asarray(
        information - np.outer(along, along) / (moved @ along) + np.outer(change, change) / (moved @ change)
    )


def _newton_step(information: Array, slope: Array) -> Array:
    step = np.linalg.solve(information, slope)
    return np.asarray(step * min(1.0, 2.0 / float(np.abs(step).max())))


class LatentMap:
    """The map (z, w) → (x, s), and the log density there; see the head of this file.

    Parameters
    ----------
    latent
        The posterior.
    start
        Point near its mode, if one is known.
    """

    def __init__(self, latent: LatentPosterior, start: Array | None = None) -> None:
        self.latent = latent
        self.symbolic = latent.engine.predictor.symbolic
        self.position = latent.engine.predictor.position
        self._rows = _panel_rows(self.symbolic)
        self._diagonal = latent.engine._diagonal
        self.centre, information = laplace_mode(latent, start)
        self._centre_partly()
        values, vectors = np.linalg.eigh(information) if latent.size else (np.zeros(0), np.zeros((0, 0)))
        self.root = vectors / np.sqrt(np.maximum(values, 1.0 / _WIDEST))
        self.sd = np.sqrt((self.root**2).sum(axis=1))
        self.directions = _directions(self.root @ self.root.T, latent.d, latent.coordinates.free_scales)
        self._tabulate()
        self._flatten()

    @property
    def n_unknowns(self) -> int:
        """Number of location effects."""
        return len(self.position)

    @property
    def tight(self) -> bool:
        """Whether every log scale is known well enough for tables about x̂ and longer steps."""
        liabilities = any(f.link_variance > 0.0 for f in self.latent.design.families)
        return self.widest <= (TIGHT if liabilities else TIGHT_WITHOUT)

    @cached_property
    def widest(self) -> float:
        """Largest standard deviation of the logarithm of a scale, in the Laplace posterior."""
        latent = self.latent
        theta, scales = latent.coordinates.constrain(self.centre[: latent.d]), latent.coordinates.scales
        J = latent.coordinates.jacobian(self.centre[: latent.d])
        sd = np.sqrt(((J @ self.root[: latent.d]) ** 2).sum(axis=1))
        return float(np.max(sd[scales] / np.maximum(theta[scales], 1e-12), initial=0.0))

    def _centre_partly(self) -> None:
        """Set τ² = σ² (1 - r) / r of every column, r the mean informed fraction of its effects at the mode."""
        latent = self.latent
        _, state, place = latent.marginal(self.centre)
        p, engine = latent.engine.predictor, latent.engine
        engine._spread(state.numbers)
        low = sparse.coo_array(sparse.tril(p.prior))
        row, col = p.position[low.row], p.position[low.col]
        at = p.prior_place_of(row, col)
        shares = low.data * engine._work.inverse[at] * np.where(low.row == low.col, 1.0, 2.0)
        same = latent._group[low.row] == latent._group[low.col]
        trace = np.bincount(latent._group[low.row][same], shares[same], minlength=latent._n_groups)
        self.informed = 1.0 - trace / np.maximum(latent._count_of_group, 1.0)
        r = np.clip(self.informed, 1e-6, 1.0 - 1e-6)
        begin, tau = 1, latent.shape.tau
        for k, m in enumerate([*latent.shape.sizes, len(latent.design.traits)]):
            last = k == len(latent.shape.sizes)
            s = place.residual_sd if last else place.factors[k, latent.shape.pivot[k, :m], np.arange(m)]
            own = r[begin : begin + m]
            tau[k, :m] = np.maximum(np.abs(s), 1e-3) * np.sqrt((1.0 - own) / own)
            begin += m

    def _scaling(self, place: Place) -> Array:
        """Factor D of the unknowns: the Hessian by them is D H D, H that by the plain ones, (q,)."""
        latent = self.latent
        sizes = [*latent.shape.sizes, len(latent.design.traits)]
        c = np.concatenate([[1.0], *(own[:m] for own, m in zip(place.centring, sizes, strict=True))])[latent._group]
        c[: len(latent._fixed_trait)] = place.spread[latent._fixed_trait]
        return np.asarray(c)

    def _node(self, x: Array) -> tuple[Place, Array, Array]:
        """Place, G (q,), and the logarithms of the diagonal of L, (q,), at x; the factor is in the engine's memory."""
        latent = self.latent
        _, state, place = latent.marginal(x)
        D = self._scaling(place)
        G = np.empty(self.n_unknowns)
        first = latent.engine.predictor.first
        G[: first[0]] = state.mean[: first[0]] / place.spread[latent._fixed_trait]
        slope, of_drawn = latent.engine.predictor.unmixed(state.at.slope, place.mixing)
        for k, (Z, solver) in enumerate(zip(latent._slopes_to, latent._solvers, strict=True)):
            ZG = (Z @ slope).reshape(-1, latent._sizes[k])
            G[first[k] : first[k + 1]] = (ZG if solver is None else solver.solve(ZG)).reshape(-1)
        G[first[-1] :] = of_drawn / place.residual_sd[latent.drawn_trait]
        diagonal = np.log(latent.engine._work.factor[self._diagonal])
        scaled = np.empty_like(D)
        scaled[self.position] = np.log(D)
        return place, G, diagonal + scaled

    def _tabulate(self) -> None:
        latent, nodes = self.latent, 13 if self.tight else 17
        below, above = (6.0, 8.0) if self.tight else (8.0, 10.0)
        place, self.G, self.logs = self._node(self.centre)
        self._keep_factor(place)
        if not self.tight:
            self._shift_factor()
        self._factor = (*_columns(self.symbolic, self._rows, self.factor), self.position)
        self.moved: list[Table] = []
        self.stretched: list[Table] = []
        for k in range(latent.size):
            direction = self.directions[:, k]
            low, high = -below, self._furthest(direction, above)
            at = np.linspace(low, high, nodes)
            G, K = np.zeros((self.n_unknowns, nodes)), np.zeros((self.n_unknowns, nodes))
            places: list[Place] = [place] * nodes
            middle = int(np.argmin(abs(at)))
            last = np.zeros(self.n_unknowns), np.zeros(self.n_unknowns)
            for way in (range(middle, nodes), range(middle - 1, -1, -1)):
                held = last
                for j in way:
                    x = self.centre + at[j] * direction
                    try:
                        places[j], mine, logs = self._node(x)
                        held = mine - self.G, logs - self.logs
                    except Undefined:
                        places[j] = self.latent.place(x)
                    G[:, j], K[:, j] = held
            width = at[1] - at[0]

            def moved(j: int, rest: Array, places: list[Place] = places) -> float:
                return float(np.linalg.norm(self._times_factor(self._moved(places[j], rest))))

            self.moved.append(low_rank(G, low, width, moved))
            self.stretched.append(low_rank(K, low, width, lambda j, rest: float(np.linalg.norm(rest))))

    def _flatten(self) -> None:
        """Arrays of the tables, the factor and the layout, as the kernels take them."""
        latent = self.latent
        self._axes = tuple(_axes(tables) for tables in (self.moved, self.stretched))
        self._tables = (self.G, *(_bases(tables, self.n_unknowns) for tables in (self.moved, self.stretched)))
        p = latent.engine.predictor
        self._layout = (p.first.astype(np.int64), latent.shape.sizes, latent.drawn_trait)
        self.static = (
            *(array for axes in self._axes for array in axes),
            self._tables,
            self._factor,
            self._layout,
            (p.indptr, p.column, p.slot, p.weight, p.entry, p.mix),
            (p.pair_row, p.pair_source, p.pair_mix),
            latent.engine._given,
            latent._prior,
            latent._group,
            latent._record_arrays,
            latent._codes,
            self.centre,
            np.ascontiguousarray(np.linalg.inv(self.directions)),
        )

    def _furthest(self, direction: Array, above: float) -> float:
        """How far a table along a direction goes: not to scales over 4, but a standard deviation at least."""
        for k in np.flatnonzero(self.latent.coordinates.free_scales):
            if direction[k] > 0.0:
                left = max(self._highest(int(k)) - self.centre[k], self.sd[k])
                above = min(above, left / direction[k])
        return max(above, 1.0)

    def _highest(self, k: int) -> float:
        """Coordinate at which a scale is 4."""
        latent = self.latent
        theta = latent.coordinates.constrain(self.centre[: latent.d])
        theta[latent.coordinates.free[k]] = 4.0
        return float(latent.coordinates.unconstrain(theta)[k])

    def _keep_factor(self, place: Place) -> None:
        """L̂ in the coordinates of the unknowns: rows of L multiplied by D."""
        D = np.empty(self.n_unknowns)
        D[self.position] = self._scaling(place)
        self.factor = self.latent.engine._work.factor * D[self._rows]

    def _shift_factor(self) -> None:
        """Off-diagonals of L̂ from two standard deviations up, where scales are large, columns as long as at x̂."""
        latent = self.latent
        up = np.zeros(latent.size)
        up[: latent.d] = np.where(latent.coordinates.free_scales, 2.0 * self.sd[: latent.d], 0.0)
        try:
            place, _, logs = self._node(self.centre + up)
        except Undefined:
            return
        self._keep_factor(place)
        column = np.concatenate(
            [
                np.repeat(
                    np.arange(self.symbolic.start[s], self.symbolic.start[s + 1]),
                    self.symbolic.start[s + 1]
                    - self.symbolic.start[s]
                    + self.symbolic.row_start[s + 1]
                    - self.symbolic.row_start[s],
                )
                for s in range(len(self.symbolic.start) - 1)
            ]
        )
        self.factor *= np.exp(self.logs - logs)[column]

    def _times_factor(self, s: Array) -> Array:
        """L̂'P s, (q,)."""
        placed = np.empty(self.n_unknowns)
        placed[self.position] = s
        return np.asarray(kernels.times_transposed(*self._factor[:-1], placed))

    def _moved(self, place: Place, G: Array) -> Array:
        """T(θ) G, (q,)."""
        latent, first, out = self.latent, self.latent.engine.predictor.first, np.empty(self.n_unknowns)
        *_, T, ratio = places.in_predictor(place, latent.shape)
        out[: first[0]] = G[: first[0]]
        for k, m in enumerate(latent.shape.sizes):
            out[first[k] : first[k + 1]] = (G[first[k] : first[k + 1]].reshape(-1, m) @ T[k, :m, :m]).reshape(-1)
        out[first[-1] :] = G[first[-1] :] * ratio[latent.drawn_trait]
        return out

    def x_of(self, z: Array) -> Array:
        """x from z (…, size)."""
        return np.asarray(self.centre + z @ self.root.T)

    def wanted(self, effects: Mapping[str, IntArray]) -> Wanted:
        """Return what is to be kept of draws: levels of terms, besides x and the fixed effects."""
        first, design = self.latent.engine.predictor.first, self.latent.design
        terms, firsts = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for name, at in effects.items():
            k = design.position(name)
            terms.append(np.full(len(at), k))
            firsts.append(first[k] + np.asarray(at, dtype=np.int64) * self.latent.shape.sizes[k])
        return Wanted(self.latent._fixed_trait.astype(np.int64), np.concatenate(terms), np.concatenate(firsts))

    def kept(self, z: Array, wanted: Wanted) -> Array:
        """What is wanted of a draw (z, w), see :func:`kernels.keep`."""
        latent, x = self.latent, self.x_of(z[: self.latent.size])
        theta, out = (
            latent.coordinates.constrain(x[: latent.d]),
            np.empty(latent.size + wanted.size(latent.shape.sizes)),
        )
        w = np.ascontiguousarray(z[latent.size :])
        factors = latent.factors.of(theta)
        kernels.keep(factors, latent.residual(theta), x, w, wanted, latent.shape, self.static, out)
        return out

    def value_and_gradient(self, z: Array) -> tuple[float, Array]:
        """Log density at (z, w) and its gradient, (size + q,); -inf where it is not defined."""
        latent, n, d = self.latent, self.latent.size, self.latent.d
        x = self.x_of(z[:n])
        with np.errstate(all="ignore"):
            theta = latent.coordinates.constrain(x[:d])
            R = latent.residual(theta)
            value, by_w, by_x, by_factors, by_R = kernels.evaluate(
                latent.factors.of(theta), R, x, np.ascontiguousarray(z[n:]), latent.shape, self.static
            )
            by_theta = latent.factors.pulled(theta, by_factors)
            at = latent.slices[-1]
            if at.stop > at.start:
                by_theta[at] += np.einsum("pab,ab->p", latent.blocks.structures[-1].jacobian(theta[at]), by_R)
            prior, d_prior = latent.by_rows.prior(theta)
            value += prior + latent.coordinates.log_jacobian(x[:d])
            by_x[:d] += latent.coordinates.pullback(x[:d], by_theta + d_prior)
        gradient = np.concatenate([self.root.T @ by_x, by_w])
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(n + self.n_unknowns)
        return float(value), gradient

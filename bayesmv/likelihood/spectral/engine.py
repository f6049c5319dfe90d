r"""The spectral engine: one random term and complete records, at a cost that does not grow with the herd.

With R = LL', L⁻¹ΣL⁻ᵀ = Q diag(λ) Q' and T = Q'L⁻¹, the columns of YT' are independent with covariances λ_i H + I,
H = ZKZ', and

.. math:: -2l = const + (n-p) \log|R| + \sum_i [ d(λ_i) + (T S(λ_i) T')_{ii} ]

``d(λ) = log|λH+I| + log|X'(λH+I)⁻¹X|`` and ``S(λ) = Y'P(λ)Y`` (t, t) are functions of one number. They are tabulated
once (:mod:`bayesmv.likelihood.spectral.series`), each node by one sparse factorisation for a single trait, or, where
the relationship is dense, from one eigendecomposition for all nodes.

Source: Meyer (1985), Biometrics 41:153-165 (canonical transformation).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.protocol import CALL, MULTIPLICATION, Offer, declined, refusal
from bayesmv.likelihood.spectral import series
from bayesmv.likelihood.spectral.eigen import is_dense, spectrum
from bayesmv.likelihood.spectral.series import Series, moments, restricted
from bayesmv.likelihood.spectral.univariate import univariate
from bayesmv.numerics import chebyshev
from bayesmv.numerics.chebyshev import Scale
from bayesmv.numerics.progress import watched
from bayesmv.numerics.symmetric import packed_rows, symmetric_part, unit_components

#: Interpolation error of d and of S, per unit and in sums of squares per unit: aimed at, and refused above.
TOLERANCE, REFUSED = 1e-11, 1e-9
#: Nodes that a table is taken to have before it is made; measured ones had 32 to 64.
NODES = 48
#: Most fixed effects; the rank of what they leave is found from a dense matrix.
MOST_FIXED = 1000


def obstacle(design: Design) -> str | None:
    """Return why the spectral engine cannot serve a design; None if it can."""
    other = structural_obstacle(design)
    return other if other or design.complete else f"{(~design.observed).sum()} records are missing"


def structural_obstacle(design: Design) -> str | None:
    """Return what but missing records keeps the spectral engine from serving a design."""
    present, terms = design.fixed.present, design.terms
    if not design.residual.plain:
        return "residuals have groups or weights"
    if len(terms) != 1:
        return f"there are {len(terms)} random terms, not one"
    if terms[0].effects != design.traits or len(terms[0].incidences) != 1:
        return f"the term '{terms[0].name}' does not act on all traits alike"
    if (present.all(axis=1) != present.any(axis=1)).any():
        return "the traits have different fixed effects"
    if design.fixed.X.shape[1] > MOST_FIXED:
        return f"{design.fixed.X.shape[1]} fixed effects are more than {MOST_FIXED}"
    if np.diff(terms[0].incidences[0].indptr).max(initial=0) > 1:
        return f"units bear on several levels of '{terms[0].name}'"
    return None


class SpectralSource(Protocol):
    """Source of d and S, for one λ: equations of one trait, or eigenvalues."""

    @property
    def X(self) -> sparse.csr_array:
        """Conditioned fixed-effect design (n, p)."""

    @property
    def log_X(self) -> float:
        """Amount that conditioning took from log|X'V⁻¹X|."""

    def workspace(self) -> Any:
        """Memory to work in, for one thread."""

    def prepare(self, Y: Array) -> Any:
        """Responses (n, t) as `functions` needs them."""

    def functions(self, ratio: float, prepared: Any, work: Any) -> Array:
        """d(λ) and the packed lower triangle of S(λ), (1 + t(t+1)/2,)."""

    def rank(self) -> int:
        """Rank of H outside the column space of X."""

    def scale(self, work: Any) -> Scale:
        """Map of λ."""


@dataclass(frozen=True, kw_only=True)
class SpectralTable:
    """d and S of a design, tabulated; serves every model of these traits, or some of them, with the same X, Z and K.

    Parameters
    ----------
    design, series
        What it was made for, and the functions of Y in the units of that design; the constant is that of one trait.
    error
        Estimated interpolation error of d and S, per unit (mean square).
    factorisations
        Univariate factorisations (sums over eigenvalues, if the relationship is dense) that it took.
    equations
        The analysed equations, or eigenvalues, for tables of more traits.
    """

    design: Design
    series: Series
    error: float
    factorisations: int
    equations: SpectralSource

    def series_for(self, design: Design) -> Series:
        """Return the functions for the traits, the units and the constant of another design.

        Raises
        ------
        SpecError
            If its records, fixed effects, levels or relationship are others.
        """
        mine = self.design
        if not self.serves(design):
            raise SpecError("the spectral table is of other records or another model; build it for this design")
        at = np.array([mine.traits.index(t) for t in design.traits])
        constant = len(at) * self.series.constant + design.log_jacobian
        return series.select(self.series, at, mine.scale[at] / design.scale)._replace(constant=constant)

    def serves(self, design: Design) -> bool:
        """Whether the traits of a design are among those tabulated, with the same records, X, Z and K."""
        if self.design is design:
            return True
        if not self.extends_to(design) or not set(design.traits) <= set(self.design.traits):
            return False
        at = [self.design.traits.index(t) for t in design.traits]
        return np.array_equal(self.design.response[:, at], design.response)

    def extends_to(self, design: Design) -> bool:
        """Whether a design has the same X, Z and K."""
        if obstacle(design) is not None:
            return False
        mine, its = (
            (d.terms[0].precision, d.terms[0].incidences[0], d.fixed.X[:, d.fixed.present[:, 0]])
            for d in (self.design, design)
        )
        return all(a.shape == b.shape and abs(a - b).max() == 0.0 for a, b in zip(mine, its, strict=True))


def build_table(
    design: Design, *, reuse: SpectralTable | None = None, cores: int = 2, progress: bool = False
) -> SpectralTable:
    """Tabulate d and S of a design.

    Parameters
    ----------
    design
        The design.
    reuse
        Table of a design with the same X, Z and K. If it has the records of all traits it is returned as it is; if
        not, its ordering and analysis (or eigenvalues), the range of λ and the number of nodes are taken over. The
        factorisations are made again: kept, they would take nodes × nonzeros of memory.
    cores, progress
        Factorisations at once, and whether to show how many are done if they take over two seconds.

    Raises
    ------
    SpecError
        If the engine cannot serve the design, the table to reuse is of other equations, or the functions cannot be
        tabulated to 1e-9 per unit.
    """
    reason = obstacle(design)
    if reason is not None:
        raise refusal(SpectralLikelihood.name, reason)
    if reuse is not None and not reuse.extends_to(design):
        raise SpecError("the table to reuse has other fixed effects, levels or relationships; build one without it")
    if reuse is not None and reuse.serves(design):
        return reuse
    equations = analysed(design) if reuse is None else reuse.equations
    Y = design.working_response
    series, error, count = tabulated(
        equations, Y, design.terms[0].name, None if reuse is None else reuse.series, cores=cores, progress=progress
    )
    return SpectralTable(design=design, series=series, error=error, factorisations=count, equations=equations)


def tabulated(
    equations: SpectralSource,
    Y: Array,
    name: str,
    like: Series | None = None,
    *,
    cores: int = 2,
    progress: bool = False,
) -> tuple[Series, float, int]:
    """Functions d and S of columns Y (n, s), their error, and the factorisations that they took.

    Raises
    ------
    SpecError
        If they cannot be tabulated to 1e-9 per unit; `name` is that of the term.
    """
    with threadpool_limits(1, user_api="blas"):
        series = _blank(equations, Y.shape[1]) if like is None else like
        nodes = _Nodes(equations, series, Y, cores, progress)
        degree = len(series.coefficients) - 1
        coefficients, error = chebyshev.tabulate(nodes, degree, _sizes(Y), TOLERANCE)
    if not error <= REFUSED:
        raise SpecError(
            f"the likelihood of '{name}' cannot be tabulated: error {error:.0e} per unit with "
            f"{len(coefficients)} nodes, {REFUSED:.0e} allowed; use engine='sparse'"
        )
    return series._replace(coefficients=coefficients), error, nodes.count


def analysed(design: Design) -> SpectralSource:
    """Source of d and S of a design: equations of one trait, or eigenvalues."""
    return spectrum(design) if is_dense(design) else univariate(design)


def _blank(equations: SpectralSource, t: int) -> Series:
    """Zeros in place of the functions, at as many nodes as the slowest of them is expected to need."""
    n, p = equations.X.shape
    scale, rank = equations.scale(equations.workspace()), equations.rank()
    degree = chebyshev.degree_for(scale, 0.1 * TOLERANCE)
    return Series(
        scale=scale,
        coefficients=np.zeros((degree + 1, 1 + t * (t + 1) // 2)),
        rank=rank,
        decay=1.0 / scale.high if rank == n - p else 0.0,
        freedom=n - p,
        constant=-0.5 * ((n - p) * np.log(2 * np.pi) + equations.log_X),
    )


def _sizes(Y: Array) -> Array:
    """Sizes that errors of d and S are relative to, (1 + t(t+1)/2,)."""
    norm, (rows, cols) = np.linalg.norm(Y, axis=0), packed_rows(Y.shape[1])
    return np.append(len(Y), norm[rows] * norm[cols])


class _Nodes:
    """Values that are tabulated, at many z, several at once; `series` says how d and S are made finite at λ = ∞."""

    def __init__(self, equations: SpectralSource, series: Series, Y: Array, cores: int, bar: bool) -> None:
        self.equations, self.series, self.prepared, self.bar = equations, series, equations.prepare(Y), bar
        self.spare = deque(equations.workspace() for _ in range(cores))
        self.count = 0

    def __call__(self, z: Array) -> Array:
        self.count += len(z)
        with ThreadPoolExecutor(len(self.spare)) as pool:
            found = pool.map(self._one, z)
            return np.array(list(watched(found, "Tabulating the likelihood", len(z), self.bar)))

    def _one(self, z: float) -> Array:
        scale, ratio = self.series.scale, chebyshev.ratio_at(self.series.scale, z)
        work = self.spare.pop()
        try:
            found = self.equations.functions(ratio, self.prepared, work)
        finally:
            self.spare.append(work)
        found[0] -= self.series.rank * np.log1p(ratio / scale.high)
        found[1:] *= 1.0 + self.series.decay * ratio
        return np.asarray(found)


class SpectralLikelihood:
    """Restricted likelihood of a design with one random term and complete records; O(t⁴ · nodes) an evaluation.

    Parameters
    ----------
    design, table
        The design, and its table or that of another model of the same data; tabulated if not given.
    """

    name: ClassVar[str] = "spectral"
    universal: ClassVar[bool] = False

    def __init__(self, design: Design, table: SpectralTable | None = None) -> None:
        self.design = design
        self.table = build_table(design) if table is None else table
        self.arrays = self.table.series_for(design)

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer for designs of the right form; whether they can be tabulated is seen when they are."""
        reason = obstacle(design)
        if reason is not None:
            return declined(cls.name, reason)
        pairs = len(design.traits) * (len(design.traits) + 1) // 2
        cost = CALL + MULTIPLICATION * NODES * pairs * 2 * (1 + pairs)
        return Offer(cost=cost, prepare=lambda progress: cls(design, build_table(design, progress=progress)))

    def fork(self) -> Self:
        """Return self: nothing is written to."""
        return self

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """Restricted log-likelihood; -inf where R is singular."""
        return self.value_and_gradient(sigmas)[0]

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """Restricted log-likelihood and its derivative by both matrices."""
        gradients = np.empty((2, *sigmas[0].shape))
        value = restricted(*map(np.ascontiguousarray, sigmas), self.arrays, *gradients)
        return float(value), [symmetric_part(G) for G in gradients]

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """½ Σ_ijk E_ij F_ik y_j'P_j G P_i H P_k y_k of all pairs of components E, F in canonical space."""
        if not np.isfinite(self.loglik(sigmas)):
            raise np.linalg.LinAlgError("R is singular at these covariances")
        T, middle = moments(*map(np.ascontiguousarray, sigmas), self.arrays)
        E = T @ np.stack(unit_components(len(T))) @ T.T
        return np.block([[0.5 * np.einsum("aij,bik,jik->ab", E, E, m) for m in row] for row in middle])

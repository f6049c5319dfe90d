"""Protocol of the engines of the restricted likelihood, and how one is added.

An engine is a class. For a design it says whether it can serve it and at what cost (``offer``); an instance is the
restricted likelihood of one design.

**What must be defined**

``name``
    The word of the engine, for ``engine=``, reports and saved results.
``universal``
    Whether there is no model that it cannot serve. It must then build an instance of every design. Exactly one of the
    engines is universal, the last of those listed, so that every design gets one. Of the engines of traits that are
    not Gaussian each is, for such designs.
``offer(design)``
    An :class:`Offer`: the obstacle, or the predicted cost and a function that prepares the engine. It does what is
    needed to know them and no more; what it found, the offer hands on to the instance. Asked by
    :func:`bayesmv.likelihood.choose.choose` and :func:`bayesmv.likelihood.choose.likelihood`.
``loglik(sigmas)``
    l alone: for line searches and comparisons.
``value_and_gradient(sigmas)``
    l and dl/dΣ_k: for REML, the log posterior and PyMC models.
``average_information(sigmas)``
    For the steps of REML, standard errors, and the metric of the sampler.
``fork()``
    An engine to use in another thread: itself, where nothing is written to.

Matrices are those of the scaled traits, in phenotypic-sd units (``Design.to_working_units``), as the list
Σ_1 … Σ_K, R in the order of ``Design.names``; gradients and information are by them. The value is in the units of the
data. **Where V is singular** l is -inf with zero derivatives, and the other methods raise ``numpy.linalg.LinAlgError``.
**Answers follow from the arguments**: scratch memory of an engine is overwritten by every call and nothing is read from
it that a call before has left.

**What is optional**

``arrays``
    What compiled code needs to evaluate the engine, a tuple of arrays, numbers and such tuples; scratch memory included
    (a fork's is its own). With a function that is registered on the class in :mod:`bayesmv.posterior.compiled`, the
    sampler calls the engine without Python; without, it takes the log posterior in Python.
A stand-in in :mod:`bayesmv.checks.cost`
    For an engine that takes long to prepare, so that ``bayesmv check`` can time an evaluation. Others are prepared.

**To add one**, write its class in a module of this folder, list it in :data:`bayesmv.likelihood.choose.ENGINES`, and
give it a row in ``tests/likelihood/test_engines.py``, which holds it to all this and to V written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError

#: Eigenvalues of a covariance, in phenotypic variances, are raised to this where an engine needs a full-rank factor.
FLOOR = 1e-10
#: CPU seconds of a multiplication in short loops, and of an evaluation without any: rough, to compare engines by.
MULTIPLICATION, CALL = 1e-9, 1e-5


class RestrictedLikelihood(Protocol):
    r"""Restricted log-likelihood of the covariance matrices, in phenotypic-sd units of the traits.

    .. math:: l = -\tfrac12 [(N-p)\log 2\pi + \log|V| + \log|X'V^{-1}X| + y'Py]

    The value has the full constant **and** the Jacobian of the scaling, so it is the log-likelihood of the data in
    their own units. The module says what an engine must define.
    """

    name: ClassVar[str]
    universal: ClassVar[bool]

    @classmethod
    def offer(cls, design: Design) -> Offer:
        """Offer of the engine for a design."""

    def loglik(self, sigmas: Sequence[Array]) -> float:
        """l; -inf where a matrix makes V singular."""

    def value_and_gradient(self, sigmas: Sequence[Array]) -> tuple[float, list[Array]]:
        """l and the symmetric dl/dΣ_k, such that dl = Σ_k tr(G_k dΣ_k); -inf and zeros where V is singular."""

    def average_information(self, sigmas: Sequence[Array]) -> Array:
        """Average information of the stacked lower triangles of the matrices, (components, components).

        ``AI_ij = ½ y'P V_i P V_j P y`` (Gilmour, Thompson & Cullis 1995, Biometrics 51:1440-1450).
        """

    def fork(self) -> Self:
        """Return an engine with scratch memory of its own, to use in another thread."""


class EffectEquations(Protocol):
    """Equations of fixed and random effects at given covariances, in phenotypic-sd units of the traits."""

    design: Design

    def solve(self, sigmas: Sequence[Array]) -> Solution:
        """Fixed effects, less the ordinary-least-squares fit, and random effects."""

    def prediction_error(self, sigmas: Sequence[Array]) -> list[Array]:
        """Prediction error covariance of the effects of every level, (q_k, m_k, m_k) for each random term."""

    def fixed_covariance(self, sigmas: Sequence[Array]) -> Array:
        """Covariance of the fixed effects, (coefficients, coefficients)."""

    def fixed_variances(self, sigmas: Sequence[Array]) -> Array:
        """Variances of the fixed effects, (coefficients,)."""

    def combine(
        self, sigmas: Sequence[Array], fixed: sparse.csr_array, random: Sequence[sparse.csr_array | None]
    ) -> tuple[Array, Array]:
        """Linear combinations of effects (k,), and the covariance of their errors, (k, k)."""


class Solution(NamedTuple):
    """Effects in phenotypic-sd units of the traits.

    Parameters
    ----------
    fixed
        Coefficients (v, t), to be added to the ordinary-least-squares fit.
    random
        Effects of every random term, (q_k, m_k).
    """

    fixed: Array
    random: list[Array]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Offer of an engine for a design.

    Parameters
    ----------
    obstacle
        Why it cannot serve the design; None if, as far as is known before it is prepared, it can.
    cost
        Predicted CPU seconds of one evaluation with its gradient, right to a factor of some three.
    prepare
        ``prepare(progress)`` returns the engine, with a progress bar if that takes over two seconds and `progress`;
        raises SpecError if it cannot serve the design.
    """

    obstacle: str | None = None
    cost: float
    prepare: Callable[[bool], RestrictedLikelihood]


def declined(name: str, obstacle: str) -> Offer:
    """Offer of an engine that cannot serve the design."""

    def prepare(progress: bool) -> RestrictedLikelihood:
        raise refusal(name, obstacle)

    return Offer(obstacle=obstacle, cost=np.inf, prepare=prepare)


def refusal(name: str, obstacle: str) -> SpecError:
    """Error of an engine that is asked for by its name and cannot serve the design."""
    return SpecError(f"the {name} engine cannot serve this design: {obstacle}; use engine='auto'")


def clipped_factor(sigma: Array) -> Array:
    """F (m, m) with FF' = Σ, eigenvalues below FLOOR raised to it so that F can be inverted."""
    values, vectors = np.linalg.eigh(sigma)
    return np.asarray(vectors * np.sqrt(np.maximum(values, FLOOR)))

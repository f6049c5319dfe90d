r"""Inference on fixed effects from small designs: the covariance of their estimates and denominators of F tests.

With ``V = Σ_i σ_i V_i`` linear in the covariance components, ``Φ = (X'V⁻¹X)⁻¹`` and

.. math:: P_i = -X'V^{-1}V_iV^{-1}X, \qquad Q_{ij} = X'V^{-1}V_iV^{-1}V_jV^{-1}X

the covariance of the estimates, adjusted for what is lost by estimating σ with covariance W, is

.. math:: Φ_A = Φ + 2 Φ \Bigl\{ \sum_{ij} W_{ij} (Q_{ij} - P_i Φ P_j) \Bigr\} Φ

and a hypothesis ``Lβ = 0`` of ℓ rows is tested by ``λ F``, ``F = β̂'L'(LΦ_AL')⁻¹Lβ̂ / ℓ``, against F(ℓ, m), with m and λ
such that mean and variance of both agree to first order. W is the inverse of the expected REML information,
``½ tr(P V_i P V_j)``. All is dense, for some thousand records at most.

Source: Kenward & Roger (1997), Biometrics 53:983-997; the last step as arranged by Halekoh & Højsgaard (2014),
J. Stat. Soft. 59(9).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.numerics.symmetric import packed_rows, symmetric_lu
from bayesmv.reml.delta import Uncertainty
from bayesmv.reml.result import RemlFit

#: Most records: V and its derivatives are dense.
LARGEST = 2000


class Denominator(NamedTuple):
    """F statistic of a hypothesis, its degrees of freedom."""

    statistic: float
    numerator: int
    denominator: float


@dataclass(frozen=True, eq=False)
class KenwardRoger:
    """Kenward and Roger's inference on the fixed effects of a fit, in scaled units of the traits.

    Parameters
    ----------
    fit
        A REML fit of at most 2,000 records.
    design
        Its design.
    """

    fit: RemlFit
    design: Design

    @cached_property
    def covariance(self) -> Array:
        """Φ, covariance of the estimates as if the covariances were known, (p, p)."""
        return self._parts[0]

    @cached_property
    def adjusted(self) -> Array:
        """Φ_A, (p, p)."""
        phi, P, Q, W = self._parts
        middle = np.einsum("ij,ijab->ab", W, Q) - np.einsum("ij,iab,bc,jcd->ad", W, P, phi, P)
        out = phi + 2.0 * phi @ middle @ phi
        return np.asarray(0.5 * (out + out.T))

    @cached_property
    def _parts(self) -> tuple[Array, Array, Array, Array]:
        """Φ (p, p), P (c, p, p), Q (c, c, p, p) and W (c, c)."""
        X, V, derivatives = _dense(self.design, self.fit.sigmas)
        VX = np.linalg.solve(V, X)
        phi = np.linalg.inv(X.T @ VX)
        Vi = np.linalg.inv(V)
        M = Vi - VX @ phi @ VX.T
        A = np.array([D @ VX for D in derivatives])  # V_i V⁻¹ X
        P = -np.einsum("na,inb->iab", VX, A)
        Q = np.einsum("ina,nm,jmb->ijab", A, Vi, A, optimize=True)
        moved = [M @ D for D in derivatives]
        information = np.array([[0.5 * np.sum(a * b.T) for b in moved] for a in moved])
        return phi, P, Q, self._component_covariance(information)

    def _component_covariance(self, information: Array) -> Array:
        """Covariance of the estimated components, from the information of those that are free, working units."""
        if self.fit.given:
            return np.zeros_like(information)
        J = self.fit.record.blocks.jacobian(self.fit.theta)
        found = Uncertainty.of(J, J.T @ information @ J, np.ones(len(information))).covariance
        return np.nan_to_num(found)

    def test(self, L: Array, beta: Array) -> Denominator:
        """Test of ``Lβ = 0``, L (ℓ, p) of full row rank and β (p,) the estimates, scaled units."""
        phi, P, _, W = self._parts
        ell = len(L)
        theta = L.T @ np.linalg.solve(L @ phi @ L.T, L)
        moved = np.array([theta @ phi @ p @ phi for p in P])
        traces = np.trace(moved, axis1=1, axis2=2)
        A1 = float(traces @ W @ traces)
        A2 = float(np.einsum("ij,iab,jba->", W, moved, moved))
        wald = float((L @ beta) @ np.linalg.solve(L @ self.adjusted @ L.T, L @ beta)) / ell
        if A2 <= 1e-12:
            return Denominator(wald, ell, np.inf)
        B = (A1 + 6.0 * A2) / (2.0 * ell)
        g = ((ell + 1) * A1 - (ell + 4) * A2) / ((ell + 2) * A2)
        base = 3.0 * ell + 2.0 * (1.0 - g)
        c1, c2, c3 = g / base, (ell - g) / base, (ell + 2 - g) / base
        V0, V1, V2 = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
        V0 = 0.0 if abs(V0) < 1e-10 else V0
        ratio = (1.0 - A2 / ell) / V1
        rho = ratio**2 * V0 / V2 / ell
        m = 4.0 + (ell + 2.0) / (ell * rho - 1.0)
        scale = 1.0 if abs(m - 2.0) < 1e-2 else m * (1.0 - A2 / ell) / (m - 2.0)
        return Denominator(scale * wald, ell, m)

    def degrees_of_freedom(self, contrasts: Array) -> Array:
        """Degrees of freedom of single contrasts, (k, p) → (k,)."""
        return np.array([self.test(row[None], np.zeros(len(row))).denominator for row in contrasts])


def _dense(design: Design, sigmas: list[Array]) -> tuple[Array, Array, list[Array]]:
    """X, V and its derivatives by the packed components, over the records in scaled units times √weight."""
    unit, trait = np.nonzero(design.observed)
    root = np.sqrt(design.residual.weights)[unit]
    variables, traits = np.nonzero(design.fixed.present)
    X = design.fixed.X.toarray()[np.ix_(unit, variables)] * (trait[:, None] == traits) * root[:, None]
    derivatives: list[Array] = []
    for term in design.terms:
        factor = symmetric_lu(term.precision)
        Z = [
            (sparse.csr_array(term.incidences[load])[unit].toarray() * (trait == of)[:, None]) * root[:, None]
            for load, of in zip(term.load_of, term.trait_of, strict=True)
        ]
        KZ = [factor.solve(z.T) for z in Z]
        for i, j in zip(*packed_rows(len(Z)), strict=True):
            D = Z[i] @ KZ[j]
            derivatives.append(D if i == j else D + D.T)
    n, t = design.observed.shape
    by_unit = design.residual.derivatives(np.broadcast_to(np.eye(t), (n, t, t)))
    same = unit[:, None] == unit[None, :]
    derivatives += [block[unit[:, None], trait[:, None], trait[None, :]] * same for block in by_unit]
    components = np.concatenate([S[packed_rows(len(S))] for S in sigmas])
    V = np.einsum("i,inm->nm", components, np.array(derivatives))
    return X, V, derivatives

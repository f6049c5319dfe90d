"""Informations of REML other than the average one, for sources whose standard errors come from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

import bayesmv as bmv


class Canonical(NamedTuple):
    """Exact REML of ``Y ~ 1`` with one term of relationship K, every trait on every unit, by rotation.

    With Q'1 = 0, Q'Q = I and Q'KQ = U diag(d) U', the rows of U'Q'Y are independent N(0, d_i G + R).

    Parameters
    ----------
    d
        Eigenvalues (n-1,).
    Y
        Rotated records (n-1, t).
    G, R
        Covariance matrices (t, t).
    """

    d: np.ndarray
    Y: np.ndarray
    G: np.ndarray
    R: np.ndarray

    @classmethod
    def of(cls, fit: bmv.RemlFit) -> Canonical:
        """Rotate the records of a fit."""
        design, (term,) = fit.design, fit.design.terms
        Z = term.incidences[0]
        K = Z @ term.relationship.covariance().to_numpy() @ Z.T
        Q = scipy.linalg.helmert(len(K)).T
        d, U = np.linalg.eigh(Q.T @ K @ Q)
        return cls(d, U.T @ Q.T @ design.response, *fit.covariances.values())

    @property
    def precisions(self) -> np.ndarray:
        """(d_i G + R)⁻¹, (n-1, t, t)."""
        return np.linalg.inv(self.d[:, None, None] * self.G + self.R)

    @property
    def derivatives(self) -> np.ndarray:
        """Derivatives of d_i G + R by the stacked lower triangles of G and R, (components, n-1, t, t)."""
        units = unit_matrices(len(self.G))
        return np.concatenate([units[:, None] * self.d[:, None, None], units[:, None] + 0.0 * self.d[:, None, None]])

    @property
    def loglik(self) -> float:
        """l as ASReml prints it; ``log|V| + log|X'V⁻¹X| = log|Q'VQ| + log|X'X|``."""
        S = self.precisions
        fit = np.einsum("na,nab,nb", self.Y, S, self.Y) - np.linalg.slogdet(S)[1].sum()
        return float(-0.5 * (fit + len(self.G) * np.log(len(self.Y) + 1)))

    @property
    def expected(self) -> np.ndarray:
        """``½ tr(P V_a P V_b)``."""
        SD = np.einsum("nij,anjk->anik", self.precisions, self.derivatives)
        return 0.5 * np.einsum("anij,bnji->ab", SD, SD)

    @property
    def average(self) -> np.ndarray:
        """``½ y'P V_a P V_b P y``."""
        S = self.precisions
        w = np.einsum("nij,nj->ni", S, self.Y)
        Dw = np.einsum("anij,nj->ani", self.derivatives, w)
        return 0.5 * np.einsum("ani,nij,bnj->ab", Dw, S, Dw)


def unit_matrices(t: int) -> np.ndarray:
    """Derivative of a symmetric matrix by each entry of its lower triangle, by rows, (t (t+1) / 2, t, t)."""
    units = []
    for i in range(t):
        for j in range(i + 1):
            E = np.zeros((t, t))
            E[i, j] = E[j, i] = 1.0
            units.append(E)
    return np.array(units)


def observed(fit: bmv.RemlFit) -> np.ndarray:
    """Minus the Hessian of l by the stacked components, data units, by central differences of the exact gradient."""
    units = [unit_matrices(len(S)) for S in fit.sigmas]
    moves = [(k, E) for k, block in enumerate(units) for E in block]
    scales = [np.outer(s, s) for s in (fit.design.effect_scale(name) for name in fit.design.names)]
    step = 1e-5

    def slope(k: int, E: np.ndarray, length: float) -> np.ndarray:
        sigmas = [S + (length * E if i == k else 0.0) for i, S in enumerate(fit.sigmas)]
        gradients = fit.engine.value_and_gradient(sigmas)[1]
        return np.array([np.sum(gradients[i] * F) for i, F in moves])

    H = np.array([(slope(k, E, step) - slope(k, E, -step)) / (2 * step) for k, E in moves])
    unit = np.array([np.max(scales[k] * E) for k, E in moves])
    return -0.5 * (H + H.T) / np.outer(unit, unit)


def errors(information: np.ndarray) -> np.ndarray:
    """Standard errors of the stacked components."""
    return np.sqrt(np.diag(np.linalg.inv(information)))


def correlation_error(sigma: np.ndarray, V: np.ndarray, i: int, j: int) -> float:
    """Delta-method error of the correlation (i, j), V the covariance of the packed lower triangle of sigma."""
    r = sigma[i, j] / np.sqrt(sigma[i, i] * sigma[j, j])
    D = np.zeros_like(sigma)
    D[i, j] = r / sigma[i, j]
    D[i, i], D[j, j] = -0.5 * r / sigma[i, i], -0.5 * r / sigma[j, j]
    gradient = np.array([np.sum(D * np.tril(E)) for E in unit_matrices(len(sigma))])
    return float(np.sqrt(gradient @ V @ gradient))

"""Antedependence: each effect depends on the k before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.covariance.base import FREE, LOG, CovarianceStructure, Matrix, Parameter
from bayesmv.errors import SpecError


@dataclass(frozen=True)
class Antedependence(CovarianceStructure):
    """Antedependence of order k: u_i = Σ_{j=i-k..i-1} β_ij u_j + d_i e_i, so that Σ = T diag(d²) T', T = (I - B)⁻¹.

    θ is, row after row, the β_ij, then d_i. Order m-1 is an unstructured Σ.

    Parameters
    ----------
    order
        Order k.

    Notes
    -----
    Source: Gabriel (1962), Ann. Math. Statist. 33:201-212.
    """

    order: int = 1

    word: ClassVar[str] = "ante"

    def __post_init__(self) -> None:
        if not 1 <= self.order <= max(self.size - 1, 1):
            raise SpecError(f"{self.name} needs an order from 1 to {self.size - 1} for {self.size} effects")

    @classmethod
    def from_arguments(cls, size: int, arguments: Sequence[str], matrices: Mapping[str, Matrix] | None = None) -> Self:
        if len(arguments) > 1 or not all(a.isdigit() for a in arguments):
            raise SpecError("ante(trait, k) needs the order k of the dependence, as in ante(trait, 1)")
        return cls(size, int(arguments[0]) if arguments else 1)

    @property
    def name(self) -> str:
        return f"ante({self.order})"

    @property
    def _places(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row and column of every θ: β_ij at (i, j), d_i at (i, i)."""
        rows, cols = np.tril_indices(self.size)
        banded = rows - cols <= self.order
        return rows[banded], cols[banded]

    @property
    def n_parameters(self) -> int:
        return len(self._places[0])

    @property
    def _diagonal(self) -> npt.NDArray[np.bool_]:
        rows, cols = self._places
        return np.asarray(rows == cols)

    @property
    def anchor(self) -> npt.NDArray[np.intp]:
        return np.where(self._diagonal, LOG, FREE)

    def before(self, i: int) -> slice:
        """Effects that effect i depends on."""
        return slice(max(0, i - self.order), i)

    def innovations(self, theta: Array) -> Array:
        """Standard deviations d (…, m) of the effects given those before them."""
        return np.asarray(theta[..., self._diagonal])

    def transfer(self, theta: Array) -> Array:
        """T = (I - B)⁻¹, (…, m, m)."""
        rows, cols = self._places
        B = np.zeros((*theta.shape[:-1], self.size, self.size))
        B[..., rows, cols] = np.where(self._diagonal, 0.0, theta)
        T = np.broadcast_to(np.eye(self.size), B.shape).copy()
        for i in range(1, self.size):
            T[..., i, :] += np.einsum("...j,...jk->...k", B[..., i, :i], T[..., :i, :])
        return T

    def factor(self, theta: Array) -> Array:
        return np.asarray(self.transfer(theta) * self.innovations(theta)[..., None, :])

    def matrix(self, theta: Array) -> Array:
        L = self.factor(theta)
        return np.asarray(L @ np.swapaxes(L, -1, -2))

    def jacobian(self, theta: Array) -> Array:
        rows, cols = self._places
        T, sigma = self.transfer(theta), self.matrix(theta)
        # dΣ = t_i Σ_j' + Σ_j t_i' by β_ij, with t_i column i of T, and 2 d_i t_i t_i' by d_i.
        right = np.where(self._diagonal, theta * T[:, rows], sigma[:, cols])
        half = T[:, rows].T[:, :, None] * right.T[:, None, :]
        return np.asarray(half + np.swapaxes(half, 1, 2))

    def curvature(self, theta: Array, gradient: Array) -> Array:
        i, j = self._places
        T, sigma, d = self.transfer(theta), self.matrix(theta), theta
        GT, GS = T.T @ gradient @ T, T.T @ gradient @ sigma
        # By β_ij and β_kl: dt_i = T_li t_k and dΣ_j = t_k Σ_lj + T_jk Σ_l.
        T_li, GS_kj, S_lj, GT_ik = T[np.ix_(j, i)].T, GS[np.ix_(i, j)].T, sigma[np.ix_(j, j)], GT[np.ix_(i, i)]
        both = T_li * GS_kj + S_lj * GT_ik + (T_li * GS_kj).T
        # By d_i and β_kl: the derivative of 2 d_i t_i'Gt_i.
        mixed = 2.0 * d[:, None] * T_li * GT_ik
        scale = self._diagonal
        out = np.where(scale[:, None], mixed, mixed.T)
        out = np.where(scale[:, None] & scale, np.where(np.eye(len(d), dtype=bool), GT_ik, 0.0), out)
        return np.asarray(2.0 * np.where(~scale[:, None] & ~scale, both, out))

    def from_matrix(self, sigma: Array) -> Array:
        B = np.zeros_like(sigma)
        for i in range(self.size):
            at = self.before(i)
            B[i, at] = np.linalg.pinv(sigma[at, at], rcond=1e-10, hermitian=True) @ sigma[at, i]
            B[i, i] = np.sqrt(max(float(sigma[i, i] - B[i, at] @ sigma[at, i]), 0.0))
        return np.asarray(B[self._places])

    def canonical(self, theta: Array) -> Array:
        return np.where(self._diagonal, np.abs(theta), theta)

    def parameters(self, labels: Sequence[str]) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(name=f"innovation_sd[{labels[i]}]", unit=int(i), low=0.0)
            if i == j
            else Parameter(name=f"regression[{labels[i]},{labels[j]}]", unit=int(i), per=int(j))
            for i, j in zip(*self._places, strict=True)
        )

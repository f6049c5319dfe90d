"""Layout of the effects of a term in a record: which trait, whose effect, with which weight on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bayesmv.arrays import Array
from bayesmv.model.basis import Basis, parse_basis


@dataclass(frozen=True, kw_only=True)
class EffectLayout:
    """Effects of a term as members × functions × traits.

    Members are the individuals whose effects meet in one record (the animal; its dam or its mates), functions are those
    of the basis (1 without one). Effects are numbered member by member, trait by trait, function by function.

    Parameters
    ----------
    effects
        Labels of the effects (m,).
    traits
        Positions of the traits that the term acts on (t_k,).
    members
        Names of the members (g,).
    social
        Which members are groups of mates, (g,).
    products
        ``E z_a'K z_b`` of two members' weights in a record, K scaled to a unit diagonal, (g, g): 1, and ½ for an animal
        and its dam.
    totals
        Mean sum of a member's weights in a record, (g,): 1, and the number of mates.
    functions
        ``E f_c f_d`` of two functions over the records, (k, k).
    basis
        The basis with its limits, as text; empty for none.
    factors
        Levels of the factors in the basis.
    """

    effects: tuple[str, ...]
    traits: tuple[int, ...]
    members: tuple[str, ...]
    social: tuple[bool, ...]
    products: tuple[tuple[float, ...], ...]
    totals: tuple[float, ...]
    functions: tuple[tuple[float, ...], ...]
    basis: str = ""
    factors: tuple[tuple[str, ...], ...] = ()

    def average(self, sigma: Array, functions: Array | None = None) -> Array:
        """Covariance among members × traits, averaged over functions: (…, m, m) → (…, g t_k, g t_k).

        Parameters
        ----------
        sigma
            Covariance of the effects.
        functions
            ``f(x) f(x')'`` (k, k) in place of the average over the records.
        """
        g, t, k = len(self.members), len(self.traits), len(self.functions)
        F = np.asarray(self.functions) if functions is None else functions
        S = sigma.reshape(*sigma.shape[:-2], g, t, k, g, t, k)
        return np.asarray(np.einsum("...abcdef,cf->...abde", S, F).reshape(*sigma.shape[:-2], g * t, g * t))

    def individuals(self, sigma: Array, n_traits: int, functions: Array | None = None) -> Array:
        """Covariance among members × all traits, 0 for traits that the term does not act on, (…, g t, g t)."""
        at = np.add.outer(np.arange(len(self.members)) * n_traits, self.traits).reshape(-1)
        return embed(self.average(sigma, functions), at, len(self.members) * n_traits)

    def contribution(self, sigma: Array, n_traits: int, functions: Array | None = None) -> Array:
        """Contribution of the term to the phenotypic covariance of the traits, (…, m, m) → (…, t, t)."""
        g, t = len(self.members), n_traits
        S = self.individuals(sigma, n_traits, functions).reshape(*sigma.shape[:-2], g, t, g, t)
        return np.asarray(np.einsum("...abde,ad->...be", S, np.asarray(self.products)))

    def labels(self, traits: Sequence[str]) -> list[str]:
        """Names of members × traits; just the traits where there is one member."""
        if len(self.members) == 1:
            return list(traits)
        return [f"{trait}:{member}" for member in self.members for trait in traits]

    @property
    def resolved(self) -> Basis | None:
        """The basis, with limits and environments; None without one."""
        return parse_basis(self.basis, self.basis).restored(self.factors) if self.basis else None

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the environments, where the basis is their indicators; else none."""
        basis = self.resolved
        return () if basis is None else basis.levels

    def to_mapping(self) -> dict[str, Any]:
        """Return the layout as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_mapping` wrote."""

        def freeze(value: Any) -> Any:
            return tuple(map(freeze, value)) if isinstance(value, list) else value

        return cls(**{name: freeze(value) for name, value in values.items()})


def plain_layout(n_traits: int) -> EffectLayout:
    """EffectLayout of effects that are just the traits."""
    one = ((1.0,),)
    traits = tuple(range(n_traits))
    return EffectLayout(
        effects=(), traits=traits, members=("",), social=(False,), products=one, totals=(1.0,), functions=one
    )


def embed(matrix: Array, at: npt.ArrayLike, n: int) -> Array:
    """Put (…, m, m) covariances of some traits into (…, n, n), 0 elsewhere."""
    out = np.zeros((*matrix.shape[:-2], n, n))
    place = np.asarray(at, dtype=int)
    out[..., place[:, None], place] = matrix
    return out

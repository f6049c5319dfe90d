"""Covariance matrices by name: where each stands, its structure and its units, for designs and for saved fits."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from bayesmv.arrays import Array
from bayesmv.covariance.base import CovarianceStructure
from bayesmv.covariance.blocks import CovarianceBlocks
from bayesmv.errors import SpecError, listing


class NamedCovariances(ABC):
    """Covariance matrices of random terms and residuals by name; a design and the record of a fit are such."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the covariance matrices, in the order of `blocks`: the random terms, then the residual."""

    @property
    @abstractmethod
    def blocks(self) -> CovarianceBlocks:
        """Covariance structures in working units (phenotypic sd), in the order of `names`."""

    @abstractmethod
    def effect_scale(self, name: str) -> Array:
        """Unit of each effect of a term or of the residual, (m,): phenotypic sd, over the unit of a raw covariate."""

    def position(self, name: str) -> int:
        """Place of a term, or of the residual, in `names`, `blocks` and every list of matrices.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        if name not in self.names:
            raise SpecError(f"no term '{name}'; terms: {listing(self.names)}")
        return self.names.index(name)

    def structure(self, name: str) -> CovarianceStructure:
        """Covariance structure of a term, or of the residual, in working units."""
        return self.blocks.structures[self.position(name)]

    def parameters_of(self, name: str) -> slice:
        """Place of the parameters of a term's structure in θ."""
        return self.blocks.slices[self.position(name)]

    def to_data_units(self, name: str, sigma: Array) -> Array:
        """Covariances (…, m, m) of a term in the units of the data, from working units."""
        return sigma * self._unit_products(name)

    def to_working_units(self, name: str, sigma: Array) -> Array:
        """Covariances (…, m, m) of a term in working units, from the units of the data."""
        return sigma / self._unit_products(name)

    def _unit_products(self, name: str) -> Array:
        unit = self.effect_scale(name)
        return np.outer(unit, unit)

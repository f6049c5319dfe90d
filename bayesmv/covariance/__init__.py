"""Covariance structures: one class each, the map θ → Σ with its derivatives, in NumPy only.

Every structure is parametrised so that Σ(θ) is positive semi-definite for **any** real θ: entries of a factor, standard
deviations, angles, never variances. A singular Σ is then an ordinary point, which is what lets REML finish on the
boundary.
"""

from bayesmv.covariance.ante import Antedependence
from bayesmv.covariance.base import (
    ANGLE,
    FREE,
    LOG,
    SINGULAR,
    Correlation,
    CovarianceStructure,
    Loading,
    Matrix,
    Parameter,
    StandardDeviation,
    VarianceFactor,
)
from bayesmv.covariance.blocks import CovarianceBlocks
from bayesmv.covariance.constrained import Constrained, Constraint, constrained
from bayesmv.covariance.factors import FactorAnalytic, ReducedRank
from bayesmv.covariance.given import FixedMatrix, Identity, ScaledMatrix, checked_matrix
from bayesmv.covariance.linear import Diagonal, GeneralCorrelation, LinearFactor, ScaledIdentity, Unstructured
from bayesmv.covariance.nesting import contains
from bayesmv.covariance.registry import ALIASES, STRUCTURES, split_structure, structure
from bayesmv.covariance.scaled import (
    Autoregressive,
    Exponential,
    HeterogeneousAutoregressive,
    HeterogeneousExponential,
    HeterogeneousUniform,
    ScaledCorrelation,
    UniformCorrelation,
)
from bayesmv.covariance.separate import Separate
from bayesmv.covariance.toeplitz import HeterogeneousToeplitz, Toeplitz

__all__ = [
    "ALIASES",
    "ANGLE",
    "FREE",
    "LOG",
    "SINGULAR",
    "STRUCTURES",
    "Antedependence",
    "Autoregressive",
    "Constrained",
    "Constraint",
    "Correlation",
    "CovarianceBlocks",
    "CovarianceStructure",
    "Diagonal",
    "Exponential",
    "FactorAnalytic",
    "FixedMatrix",
    "GeneralCorrelation",
    "HeterogeneousAutoregressive",
    "HeterogeneousExponential",
    "HeterogeneousToeplitz",
    "HeterogeneousUniform",
    "Identity",
    "LinearFactor",
    "Loading",
    "Matrix",
    "Parameter",
    "ReducedRank",
    "ScaledCorrelation",
    "ScaledIdentity",
    "ScaledMatrix",
    "Separate",
    "StandardDeviation",
    "Toeplitz",
    "UniformCorrelation",
    "Unstructured",
    "VarianceFactor",
    "checked_matrix",
    "constrained",
    "contains",
    "split_structure",
    "structure",
]

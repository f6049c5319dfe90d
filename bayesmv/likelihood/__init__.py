"""The restricted likelihood of the covariance matrices: one density, several engines."""

from bayesmv.likelihood.choose import Engine, likelihood
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.likelihood.strata import StrataLikelihood

__all__ = ["Engine", "MixedModelLikelihood", "RestrictedLikelihood", "StrataLikelihood", "likelihood"]

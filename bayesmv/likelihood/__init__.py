"""The restricted likelihood of the covariance matrices: one density, several engines."""

from bayesmv.likelihood.choose import Engine, likelihood, obstacles
from bayesmv.likelihood.mixed_model import MixedModelLikelihood
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.likelihood.strata import StrataLikelihood

__all__ = ["Engine", "MixedModelLikelihood", "RestrictedLikelihood", "StrataLikelihood", "likelihood", "obstacles"]

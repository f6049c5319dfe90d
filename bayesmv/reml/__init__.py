"""Restricted maximum likelihood."""

from bayesmv.reml.compare import LikelihoodRatio, likelihood_ratio
from bayesmv.reml.fit import RemlFit, fit_reml

__all__ = ["LikelihoodRatio", "RemlFit", "fit_reml", "likelihood_ratio"]

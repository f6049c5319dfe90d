"""Restricted maximum likelihood."""

from bayesmv.reml.compare import LikelihoodRatio, likelihood_ratio
from bayesmv.reml.fit import RemlFit, blup, fit_reml

__all__ = ["LikelihoodRatio", "RemlFit", "blup", "fit_reml", "likelihood_ratio"]

"""Restricted maximum likelihood."""

from bayesmv.reml.fit import RemlFit, blup, fit_reml

__all__ = ["RemlFit", "blup", "fit_reml"]

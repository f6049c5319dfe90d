"""Restricted maximum likelihood."""

from bayesmv.reml.blup import blup
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit

__all__ = ["RemlFit", "blup", "fit_reml"]

"""Restricted maximum likelihood."""

from bayesmv.reml.blup import blup
from bayesmv.reml.fit import fit_reml
from bayesmv.reml.result import RemlFit
from bayesmv.reml.storage import load_fit

__all__ = ["RemlFit", "blup", "fit_reml", "load_fit"]

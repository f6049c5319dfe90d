"""PyMC models of a design: the only place that builds PyMC graphs. PyMC is imported when one is built."""

from bayesmv.pymc_model.build import Effects, build_model

__all__ = ["Effects", "build_model"]

"""PyMC models of a design: the only place that builds PyMC graphs. PyMC is imported when one is built."""

from bayesmv.builders.build import Effects, build_model

__all__ = ["Effects", "build_model"]

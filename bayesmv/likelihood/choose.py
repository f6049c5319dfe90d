"""Choice of the engine of a design."""

from __future__ import annotations

from typing import Literal, get_args

from bayesmv.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.mixed_model import MixedModelLikelihood
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.likelihood.strata import StrataLikelihood, find_strata

Engine = Literal["auto", "strata", "sparse"]


def likelihood(design: Design, engine: Engine = "auto") -> RestrictedLikelihood:
    """Return the restricted likelihood of a design.

    Parameters
    ----------
    design
        The design.
    engine
        ``strata`` for balanced designs, ``sparse`` for any, ``auto`` for the first that is possible.

    Raises
    ------
    SpecError
        If the engine is unknown or cannot serve the design.
    """
    if engine not in get_args(Engine):
        raise SpecError(f"unknown engine '{engine}'; engines: {', '.join(get_args(Engine))}")
    strata = None if engine == "sparse" else find_strata(design)
    if strata is not None:
        return StrataLikelihood(design, strata)
    if engine == "strata":
        raise SpecError("the strata engine needs a balanced design with complete records; use engine='auto'")
    return MixedModelLikelihood(design)

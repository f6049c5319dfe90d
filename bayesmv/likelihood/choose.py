"""Choice of the engine of a design."""

from __future__ import annotations

import sys
from typing import Literal, get_args

from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood import strata
from bayesmv.likelihood.protocol import RestrictedLikelihood
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.likelihood.spectral.engine import SpectralLikelihood, build_table, obstacle
from bayesmv.likelihood.strata import StrataLikelihood, find_strata

Engine = Literal["auto", "strata", "sparse", "spectral"]


def likelihood(design: Design, engine: Engine = "auto", progress: bool | None = None) -> RestrictedLikelihood:
    """Return the restricted likelihood of a design.

    Parameters
    ----------
    design
        The design.
    engine
        ``strata`` for balanced designs, ``spectral`` for one random term and complete records, ``sparse`` for any,
        ``auto`` for the first of them that is possible.
    progress
        Show a progress bar if preparing the engine takes over two seconds; by default on a terminal only.

    Raises
    ------
    SpecError
        If the engine is unknown or cannot serve the design.
    """
    if engine not in get_args(Engine):
        raise SpecError(f"unknown engine '{engine}'; engines: {', '.join(get_args(Engine))}")
    progress = sys.stderr.isatty() if progress is None else progress
    found = find_strata(design) if engine in ("auto", "strata") else None
    if found is not None:
        return StrataLikelihood(design, found)
    if engine == "strata":
        raise SpecError("the strata engine needs a balanced design with complete records; use engine='auto'")
    if engine == "spectral":
        return SpectralLikelihood(design, build_table(design, progress=progress))
    spectral = _spectral(design, progress) if engine == "auto" else None
    return MixedModelLikelihood(design) if spectral is None else spectral


def obstacles(design: Design) -> dict[str, str]:
    """Engines that ``auto`` would rather take for a design, and why it cannot, without preparing one."""
    unbalanced = None if find_strata(design) else "its terms are not balanced against each other"
    reasons = {"strata": strata.obstacle(design) or unbalanced}
    if reasons["strata"]:
        reasons["spectral"] = obstacle(design)
    return {name: reason for name, reason in reasons.items() if reason}


def _spectral(design: Design, progress: bool) -> SpectralLikelihood | None:
    """Return the spectral engine of a design; None if it cannot serve it, or not to its accuracy."""
    if obstacle(design) is not None:
        return None
    try:
        return SpectralLikelihood(design, build_table(design, progress=progress))
    except SpecError:
        return None

"""Choice of the engine of a design."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.latent.engine import (
    JointMode,
    LaplaceLikelihood,
    LaplaceML,
    LatentLikelihood,
    VariationalLikelihood,
)
from bayesmv.likelihood.protocol import EffectEquations, Offer, RestrictedLikelihood
from bayesmv.likelihood.sparse.engine import MixedModelLikelihood
from bayesmv.likelihood.spectral.engine import SpectralLikelihood
from bayesmv.likelihood.spectral.missing import MissingCells
from bayesmv.likelihood.strata import StrataLikelihood

#: All engines, the quickest first; the last of them serves any model.
ENGINES: tuple[type[RestrictedLikelihood], ...] = (
    StrataLikelihood,
    SpectralLikelihood,
    MissingCells,
    MixedModelLikelihood,
)

#: Engines of designs with traits that are not Gaussian: approximations, the better first.
APPROXIMATE: tuple[type[LatentLikelihood], ...] = (VariationalLikelihood, LaplaceLikelihood, LaplaceML, JointMode)

#: Ratio of costs up to which the engine that comes first is taken: it is prepared sooner.
_ALIKE = 1.3
#: CPU seconds of an evaluation below which an engine is taken without asking what the universal one costs.
_CHEAP = 3e-4
#: ``auto``, or the name of one of the :data:`ENGINES` or of those that are :data:`APPROXIMATE`.
type Engine = str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine of a design, and why it is not another.

    Parameters
    ----------
    engine
        The engine.
    reasons
        Why each of the engines that are quicker was not taken, by name.
    offer
        What the engine offers for the design: its predicted cost, and how it is prepared.
    """

    engine: type[RestrictedLikelihood]
    reasons: Mapping[str, str]
    offer: Offer

    @property
    def name(self) -> str:
        """Name of the engine."""
        return self.engine.name

    @property
    def cost(self) -> float:
        """Predicted CPU seconds of one evaluation with its gradient."""
        return self.offer.cost


def choose(design: Design, refused: Mapping[str, str] | None = None) -> Choice:
    """Choose the engine that ``auto`` stands for: the cheapest of :data:`ENGINES` without an obstacle.

    Those that serve special designs are most often cheaper than the one that serves all, whose cost is asked only where
    no other is cheap; of nearly the same cost, the first is taken.

    Parameters
    ----------
    design
        The design.
    refused
        Engines that are known not to serve the design, and why; they are not asked.
    """
    reasons = dict(refused or {})
    engines = ENGINES if design.gaussian else APPROXIMATE
    offers: list[tuple[type[RestrictedLikelihood], Offer]] = []
    for engine in engines:
        cheap = any(o.obstacle is None and (o.cost < _CHEAP or each.universal) for each, o in offers)
        if engine.name not in reasons and not (engine.universal and cheap):
            offers.append((engine, engine.offer(design)))
    least = min((offer.cost for _, offer in offers if offer.obstacle is None), default=0.0)
    for engine, offer in offers:
        if offer.obstacle is None and offer.cost <= _ALIKE * least:
            return Choice(engine=engine, reasons=reasons, offer=offer)
        dear = f"an evaluation takes {offer.cost / least:.1f} times as long as by another" if least else ""
        reasons[engine.name] = offer.obstacle or dear
    raise SpecError(f"no engine can serve this design: {reasons}")


def likelihood(design: Design, engine: Engine = "auto", progress: bool | None = None) -> RestrictedLikelihood:
    """Return the restricted likelihood of a design.

    Parameters
    ----------
    design
        The design.
    engine
        ``strata`` for balanced designs, ``spectral`` for one random term and complete records, ``covariates`` for one
        random term and few records missing, ``sparse`` for any,
        ``auto`` for the first of them that is possible. Where a trait is not Gaussian these are ``variational`` and
        ``laplace``, both approximate; ``laplace_ml``, as of lme4 and glmmTMB, whose fixed effects are not integrated
        over; and ``mode``, the joint mode of effects and thresholds where all covariances are held.
    progress
        Show a progress bar if preparing the engine takes over two seconds; by default on a terminal only.

    Raises
    ------
    SpecError
        If the engine is unknown or cannot serve the design.
    """
    engines = ENGINES if design.gaussian else APPROXIMATE
    by_name: dict[str, type[RestrictedLikelihood]] = {each.name: each for each in engines}
    if engine != "auto" and engine not in by_name:
        raise SpecError(f"unknown engine '{engine}'{_of(design)}; engines: {', '.join(['auto', *by_name])}")
    progress = sys.stderr.isatty() if progress is None else progress
    if engine in by_name:
        return by_name[engine].offer(design).prepare(progress)
    return _prepared(design, choose(design), progress)


def effect_equations(design: Design, engine: Engine) -> EffectEquations:
    """Equations of the effects of a design at the estimates of an engine, by its name."""
    if design.gaussian:
        return MixedModelLikelihood(design)
    return next(each for each in APPROXIMATE if each.name == engine)(design)


def _of(design: Design) -> str:
    return "" if design.gaussian else " of traits that are not Gaussian"


def _prepared(design: Design, choice: Choice, progress: bool) -> RestrictedLikelihood:
    """Return the engine that was chosen, or the next if only preparing it shows that it cannot serve the design."""
    try:
        return choice.offer.prepare(progress)
    except SpecError as error:
        if choice.engine.universal:
            raise
        return _prepared(design, choose(design, {**choice.reasons, choice.name: str(error)}), progress)

"""State of a run in its trace: what it takes to go on where the run was ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bayesmv import dims
from bayesmv._version import __version__
from bayesmv.design.saved import entry
from bayesmv.errors import SpecError, listing
from bayesmv.sampling.batches import Metric, Stage
from bayesmv.sampling.chains import Chains
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.trace import load_posterior

#: Group of a trace that holds the state.
STATE = "sampler_state"
#: Settings that a run keeps when it is taken up.
_KEPT = ("tune", "chains", "seed", "target_accept")
_STATISTIC = "stat_"


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """State of a run, and how it came there.

    Parameters
    ----------
    stage
        Its draws, and the batch in hand.
    metric
        Coordinates of its first batch.
    settings
        Settled settings.
    effects
        Positions of the levels whose effects were asked for, by name of the term; None for no effects.
    """

    stage: Stage
    metric: Metric
    settings: SamplerSettings
    effects: dict[str, npt.NDArray[np.intp]] | None = None

    def to_dataset(self) -> xr.Dataset:
        """Group of the trace."""
        chains, stage = self.stage.chains, self.stage
        x = {"x": ((dims.CHAIN, dims.DRAW, "component"), _padded(chains.x, np.nan))}
        names = [name for name, values in chains.stats[0].items() if values.dtype.kind in "biuf"]
        stats = {
            _STATISTIC + name: ((dims.CHAIN, dims.DRAW), _padded([s[name] for s in chains.stats], 0)) for name in names
        }
        metric = {
            "length": (dims.CHAIN, np.array(chains.lengths)),
            "centre": ("component", self.metric.centre),
            "root": (("component", "column"), self.metric.root),
        }
        asked = asked_for(self.settings, self.effects)
        attributes = {"version": __version__, "stage": json.dumps([stage.wanted, stage.drawn, stage.number])}
        return asked.assign(x | stats | metric).assign_attrs(attributes)

    @classmethod
    def read(cls, trace: xr.DataTree) -> State:
        """State in a trace.

        Raises
        ------
        SpecError
            If there is none, or one of another version of bayesmv, whose coordinates may be others.
        """
        settings, effects = read_asked_for(trace)
        group = trace[STATE].to_dataset()
        try:
            if group.attrs["version"] != __version__:
                made = group.attrs["version"]
                raise SpecError(f"bayesmv {__version__} cannot resume a run of bayesmv {made}; sample again")
            lengths = [int(n) for n in group["length"].to_numpy()]
            known = {str(n).removeprefix(_STATISTIC): v for n, v in group.items() if str(n).startswith(_STATISTIC)}
            stats = [{name: values.to_numpy()[c, :n] for name, values in known.items()} for c, n in enumerate(lengths)]
            said = trace["sample_stats"].attrs
            x = [group["x"].to_numpy()[c, :n] for c, n in enumerate(lengths)]
            chains = Chains(x=x, stats=stats, attributes={str(k): v for k, v in said.items()})
            return cls(
                stage=Stage(chains, *map(int, entry(group.attrs, "stage"))),
                metric=Metric(group["centre"].to_numpy(), group["root"].to_numpy()),
                settings=settings,
                effects=effects,
            )
        except (KeyError, TypeError, IndexError) as error:
            raise SpecError(f"the state of the run cannot be read ({error}); sample again") from None

    def continued(self, asked: dict[str, Any]) -> State:
        """State of a run that goes on with some settings changed: more draws, another number of cores.

        Raises
        ------
        SpecError
            If a setting is changed that the draws so far were made with.
        """
        settings, stage = gone_on_with(self.settings, asked), self.stage
        if asked.get("draws") is not None and settings.draws and settings.draws > stage.wanted:
            stage = stage._replace(wanted=settings.draws, drawn=stage.drawn + settings.draws - stage.wanted)
        return replace(self, settings=settings, stage=stage)


def asked_for(settings: SamplerSettings, effects: Mapping[str, npt.NDArray[np.intp]] | None) -> xr.Dataset:
    """Group of a trace that says what was asked for: settings, and positions of the levels of terms."""
    levels = None if effects is None else {name: at.tolist() for name, at in effects.items()}
    return xr.Dataset(attrs={"settings": json.dumps(asdict(settings)), "effects": json.dumps(levels)})


def read_asked_for(trace: xr.DataTree) -> tuple[SamplerSettings, dict[str, npt.NDArray[np.intp]] | None]:
    """What was asked for in a run.

    Raises
    ------
    SpecError
        If the trace does not say.
    """
    if STATE not in trace.children:
        raise SpecError("this posterior does not say how its run stood, and cannot be resumed; sample again")
    try:
        attributes = trace[STATE].attrs
        effects, words = entry(attributes, "effects"), {f.name for f in fields(SamplerSettings)}
        settings = {k: v for k, v in entry(attributes, "settings").items() if k in words}
        levels = effects if effects is None else {k: np.array(v, dtype=np.intp) for k, v in effects.items()}
        return SamplerSettings(**settings), levels
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"the state of the run cannot be read ({error}); sample again") from None


def gone_on_with(settings: SamplerSettings, asked: Mapping[str, Any]) -> SamplerSettings:
    """Settings of a run that goes on with some of them changed.

    Raises
    ------
    SpecError
        If a setting is changed that the draws so far were made with.
    """
    changed = [n for n in _KEPT if asked.get(n) not in (None, getattr(settings, n))]
    if changed:
        kept = ", ".join(f"{name} {getattr(settings, name)}" for name in changed)
        raise SpecError(f"a run that is resumed keeps its settings ({kept}); leave out {listing(changed)}")
    return replace(settings, **{n: value for n, value in asked.items() if value is not None and n not in _KEPT})


def _padded(values: Any, fill: float) -> npt.NDArray[Any]:
    """Arrays of unequal length side by side, filled up at their ends."""
    longest = max(values, key=len)
    out = np.full((len(values), *longest.shape), fill, dtype=longest.dtype)
    for row, each in zip(out, values, strict=True):
        if len(each):
            row[: len(each)] = each
    return out


def as_trace(source: xr.DataTree | str | Path) -> xr.DataTree:
    """Trace, read if it is a file."""
    return load_posterior(str(source)) if isinstance(source, str | Path) else source

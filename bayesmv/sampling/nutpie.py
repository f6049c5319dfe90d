"""The parts of nutpie that are used here, without loading those that are not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.posterior.native import DirectDensity
from bayesmv.sampling.chains import Chains, CutShort

#: Log density and gradient at z (d,).
type LogDensity = Callable[[Array], tuple[float, Array]]


class Watch(Protocol):
    """Who is shown the draws of a batch while it runs."""

    seconds: float

    def look(self, chains: Chains) -> None:
        """Take note of the draws of z so far; asked every so many seconds."""


#: The variable that is drawn.
_POINT = "z"


class _Late(ModuleType):
    """Stands for a package that is imported when one of its attributes is first asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def import_nutpie() -> ModuleType:
    """Import nutpie with its models of Python functions; arviz, which loads all its plots, waits to be used."""
    late = "nutpie" not in sys.modules and "arviz" not in sys.modules
    if late:
        sys.modules["arviz"] = _Late("arviz")
    try:
        import nutpie
        import nutpie.compile_pymc
        import nutpie.compiled_pyfunc
    finally:
        if late:
            del sys.modules["arviz"]
    return nutpie  # type: ignore[no-any-return]


def nuts_model(
    make_density: Callable[[], LogDensity],
    d: int,
    start: Callable[[int], Array],
    keep: Callable[[Array], Array] | None = None,
    n_kept: int | None = None,
) -> Any:
    """Return what ``nutpie.sample`` draws z (d,) from.

    Parameters
    ----------
    make_density
        Makes the log density. A :class:`DirectDensity` is called by all threads, with no Python in between; of others,
        each thread makes one.
    d
        Length of z.
    start
        Gives z from the seed of a chain.
    keep, n_kept
        What is kept of z, (n_kept,), of a density in Python; all of z by default. Others say so themselves.
    """
    nutpie, density = import_nutpie(), make_density()
    if not isinstance(density, DirectDensity):
        kept = [np.dtype("float64")], [(n_kept or d,)], [_POINT]

        def make_expand(*_: int) -> Callable[[Array], dict[str, Array]]:
            return lambda z: {_POINT: z if keep is None else keep(z)}

        return nutpie.compiled_pyfunc.from_pyfunc(d, make_density, make_expand, *kept, make_initial_point_fn=start)
    n_kept = density.kept or d
    # Its class for compiled PyMC models, filled in by hand: there is no public function from a C function to a model.
    return nutpie.compile_pymc.CompiledPyMCModel(
        compiled_logp_func=density,
        compiled_expand_func=density.keep,
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=density.data,
        n_expanded=n_kept,
        shape_info=([_POINT], [slice(0, n_kept)], [(n_kept,)]),
        logp_func=None,
        expand_func=None,
        dims={},
        _n_dim=d,
        _shapes={_POINT: (n_kept,)},
        _coords={},
    )


def run_nuts(model: Any, settings: Mapping[str, Any], watch: Watch | None = None) -> Chains:
    """Chains of a model of :func:`nuts_model`.

    Parameters
    ----------
    model
        What is drawn from.
    settings
        Keywords of ``nutpie.sample``.
    watch
        Is shown the draws so far, every now and then.

    Raises
    ------
    CutShort
        On KeyboardInterrupt: with the draws that were complete.
    """
    options = {"save_warmup": False, "return_raw_trace": True, "blocking": False}
    sampler = import_nutpie().sample(model, **options, **settings)
    try:
        while True:
            try:
                return read_trace(sampler.wait(timeout=None if watch is None else watch.seconds), settings)
            except TimeoutError:
                if watch is not None:
                    watch.look(read_trace(sampler.inspect(), settings))
    except KeyboardInterrupt:
        raise CutShort(read_trace(sampler.abort(), settings)) from None


def read_trace(raw: Any, settings: Mapping[str, Any]) -> Chains:
    """Read what ``nutpie.sample(…, save_warmup=False, return_raw_trace=True)`` returns.

    Parameters
    ----------
    raw
        The raw trace.
    settings
        Settings of the sampler, to be kept in the attributes.

    Returns
    -------
    Chains
        Draws of z, and the statistics of the sampler, a number a draw; of unequal lengths after an interruption.
    """
    draws, statistics = ([pa.record_batch(batch) for batch in batches] for batches in raw.get_arrow_trace())
    kept = [np.flatnonzero(~batch["tuning"].to_numpy(zero_copy_only=False)) for batch in statistics]
    # nutpie numbers chains and draws too, tuning included.
    names = [
        field.name
        for field in statistics[0].schema
        if not pa.types.is_nested(field.type) and field.name not in (dims.CHAIN, dims.DRAW)
    ]
    attributes = {
        "inference_library": "nutpie",
        "inference_library_version": import_nutpie().__version__,
        "inference_library_settings": json.dumps(dict(settings)),
    }
    return Chains(
        x=[_vectors(batch[_POINT])[rows] for batch, rows in zip(draws, kept, strict=True)],
        stats=[
            {name: _numbers(batch[name])[rows] for name in names} for batch, rows in zip(statistics, kept, strict=True)
        ],
        attributes=attributes,
    )


def _vectors(column: pa.Array) -> Array:
    # A chain that has not begun does not know how long its vectors are.
    return np.asarray(column.flatten().to_numpy().reshape(len(column), -1 if len(column) else 1))


def _numbers(column: pa.Array) -> Array:
    """Numbers or words of a column; 0 for an integer, NaN for a number and None for a word that is missing."""
    filled = column.fill_null(0) if pa.types.is_integer(column.type) else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))

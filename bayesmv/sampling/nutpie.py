"""The parts of nutpie that are used here, without loading those that are not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.posterior.native import DirectDensity, copy_point

#: Log density and gradient at z (d,).
type LogDensity = Callable[[Array], tuple[float, Array]]

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


def nuts_model(make_density: Callable[[], LogDensity], d: int, start: Callable[[int], Array]) -> Any:
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
    """
    nutpie, density = import_nutpie(), make_density()
    if not isinstance(density, DirectDensity):
        kept = [np.dtype("float64")], [(d,)], [_POINT]
        return nutpie.compiled_pyfunc.from_pyfunc(d, make_density, _make_expand, *kept, make_initial_point_fn=start)
    # Its class for compiled PyMC models, filled in by hand: there is no public function from a C function to a model.
    return nutpie.compile_pymc.CompiledPyMCModel(
        compiled_logp_func=density,
        compiled_expand_func=copy_point(),
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=density.data,
        n_expanded=d,
        shape_info=([_POINT], [slice(0, d)], [(d,)]),
        logp_func=None,
        expand_func=None,
        dims={},
        _n_dim=d,
        _shapes={_POINT: (d,)},
        _coords={},
    )


def _make_expand(*_: int) -> Callable[[Array], dict[str, Array]]:
    return lambda z: {_POINT: z}


def read_trace(raw: Any, settings: Mapping[str, Any]) -> tuple[Array, xr.Dataset]:
    """Read what ``nutpie.sample(…, save_warmup=False, return_raw_trace=True)`` returns.

    Parameters
    ----------
    raw
        The raw trace.
    settings
        Settings of the sampler, to be kept in the attributes.

    Returns
    -------
    tuple
        Draws of z (chains, draws, d) and the statistics of the sampler, a number a draw. Chains that were interrupted
        are filled up with NaN, 0 or None.
    """
    draws, statistics = ([pa.record_batch(batch) for batch in batches] for batches in raw.get_arrow_trace())
    kept = [np.flatnonzero(~batch["tuning"].to_numpy(zero_copy_only=False)) for batch in statistics]
    x = _stack([_vectors(batch[_POINT])[rows] for batch, rows in zip(draws, kept, strict=True)])
    variables = {}
    for field in statistics[0].schema:
        if not pa.types.is_nested(field.type):
            chains = [_numbers(batch[field.name])[rows] for batch, rows in zip(statistics, kept, strict=True)]
            variables[field.name] = ((dims.CHAIN, dims.DRAW), _stack(chains))
    attributes = {
        "inference_library": "nutpie",
        "inference_library_version": import_nutpie().__version__,
        "inference_library_settings": json.dumps(dict(settings)),
    }
    coords = {dims.CHAIN: np.arange(x.shape[0]), dims.DRAW: np.arange(x.shape[1])}
    # nutpie numbers chains and draws too, tuning included.
    return x, xr.Dataset({k: v for k, v in variables.items() if k not in coords}, coords, attributes)


def _vectors(column: pa.Array) -> Array:
    return np.asarray(column.flatten().to_numpy().reshape(len(column), -1))


def _numbers(column: pa.Array) -> Array:
    """Numbers or words of a column; 0 for an integer, NaN for a number and None for a word that is missing."""
    filled = column.fill_null(0) if pa.types.is_integer(column.type) else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _stack(chains: list[Array]) -> Array:
    """Put chains side by side, filled up to the longest: with NaN, 0 or None, after an interruption."""
    first = chains[0]
    fill = np.nan if first.dtype.kind == "f" else None if first.dtype.kind == "O" else 0
    out = np.full((len(chains), max(map(len, chains)), *first.shape[1:]), fill, first.dtype)
    for row, values in zip(out, chains, strict=True):
        row[: len(values)] = values
    return out

"""Saved trees: written whole or not at all, read into memory so that the file is free again."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

import xarray as xr

from bayesmv.errors import SpecError


def write_tree(tree: xr.DataTree, path: str | Path) -> None:
    """Write a tree to a netCDF file; one that stands there is replaced at the end, or stays as it was.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    handle, name = mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        tree.to_netcdf(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_tree(path: str | Path) -> xr.DataTree:
    """Tree of a netCDF file or a Zarr store, in memory.

    Raises
    ------
    SpecError
        If the file is absent or is neither.
    """
    if not Path(path).exists():
        raise SpecError(f"no file '{path}'")
    try:
        with xr.open_datatree(path) as tree:
            return tree.load()
    except Exception as error:  # h5py, h5netcdf and zarr raise what they like about a file that is not theirs
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SpecError(f"cannot read '{path}' as netCDF: {reason}") from None

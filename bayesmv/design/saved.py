"""Saved files: written whole or not at all, and read into memory so that they are free again."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import xarray as xr

from bayesmv.errors import SpecError

#: What writes a file of the given name.
type Writer = Callable[[Path], object]

#: Temporary files that are being written; a process that quits at once takes them away first.
_PARTS: set[str] = set()


def write_whole(path: str | Path, write: Writer) -> None:
    """Write a file under a temporary name beside it, and rename it: what stood there stays until all is written.

    A link is followed; a device or a pipe gets the content as it is.

    Parameters
    ----------
    path
        The file.
    write
        Writes the file whose name it is given; that has the ending of `path`.

    Raises
    ------
    OSError
        If the file cannot be written; what stood there is as it was.
    """
    target = Path(os.path.realpath(path))
    special = target.exists() and not stat.S_ISREG(target.stat().st_mode)
    handle, name = mkstemp(
        prefix=f".{target.name[:100]}.", suffix=f".part{target.suffix}", dir=None if special else target.parent
    )
    os.close(handle)
    _PARTS.add(name)
    try:
        write(Path(name))
        if special:
            with open(name, "rb") as source, target.open("wb", buffering=0) as out:
                shutil.copyfileobj(source, out)
            os.unlink(name)
        else:
            _settle(name)
            os.chmod(name, stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask())
            os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        _PARTS.discard(name)


def _settle(name: str) -> None:
    """Have the content on the disk before the name: a loss of power leaves the old file or the new one."""
    with open(name, "rb+") as file:
        os.fsync(file.fileno())


def drop_parts() -> None:
    """Take away temporary files, before a process quits without ado."""
    for name in list(_PARTS):
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_tree(tree: xr.DataTree, path: str | Path) -> None:
    """Write a tree to a netCDF file; one that stands there is replaced at the end, or stays as it was.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    # The HDF5 library ends the process where a disk is full; in memory there is room, and bytes fail as they should.
    content = tree.to_netcdf()
    write_whole(path, lambda part: part.write_bytes(content))


class Target:
    """File that a run writes, perhaps several times, and never over what another run wrote there meanwhile.

    Parameters
    ----------
    path
        The file as the user named it. What stands there when the run begins may be replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self.asked = Path(path)
        #: The file that is written: another than was asked for, if another run wrote that one meanwhile.
        self.path = self.asked
        self._seen = _identity(self.asked)

    @property
    def moved(self) -> bool:
        """Whether another run took the name."""
        return self.path != self.asked

    def write(self, write: Writer) -> None:
        """Write the file whole or not at all; raises as :func:`write_whole`."""
        now = _identity(self.path)
        if now is not None and now != self._seen:
            self.path = _free_name(self.asked)
        write_whole(self.path, write)
        self._seen = _identity(self.path)

    def write_tree(self, tree: xr.DataTree) -> None:
        """Write a tree to the file, as netCDF; raises as :func:`write_whole`."""
        content = tree.to_netcdf()
        self.write(lambda part: part.write_bytes(content))


def _identity(path: Path) -> tuple[int, ...] | None:
    """Identity of a file, which tells it from another that is written in its place; None for none, or for a device."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _free_name(path: Path) -> Path:
    """Name beside a file that nothing has: ``draws.2.nc`` for ``draws.nc``."""
    number = 2
    while (free := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return free


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


def entry(attributes: Mapping[Any, Any], name: str) -> Any:
    """Value that an attribute of a saved tree holds as JSON.

    Raises
    ------
    SpecError
        If there is none, or it is no JSON.
    """
    try:
        return json.loads(attributes[name])
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"the entry '{name}' cannot be read ({error})") from None

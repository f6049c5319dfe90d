"""Compiled kernels on disk: found where a user may write, and never older than what they were compiled from.

numba keeps the code of a kernel beside its source and compares the date of that one file; code that is copied from
kernels, and constants, of other files goes stale. Here a kernel is known by the bytecode of all that goes into it. The
folder is one that can be written, and where there is none, or the disk is full, kernels are compiled in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import config
from numba.core.caching import Cache, CompileResultCacheImpl, NullCache, _CacheLocator
from numba.core.dispatcher import Dispatcher
from numba.extending import _Intrinsic
from numba.misc.appdirs import AppDirs

_PACKAGE = Path(__file__).resolve().parents[1]


class KernelCache(NullCache):
    """Cache of a kernel, for numba; what cannot be read or written is compiled in memory.

    Parameters
    ----------
    kernel
        The Python function.
    options
        With what it is compiled.
    """

    def __init__(self, kernel: Any, options: dict[str, Any]) -> None:
        self._kernel, self._options = kernel, options

    @cached_property
    def _kept(self) -> _KernelCache | NullCache:
        if folder_of(self._kernel.__code__.co_filename) is None:
            return NullCache()
        return _KernelCache(self._kernel, fingerprint(self._kernel, self._options))

    @property
    def cache_path(self) -> str | None:
        """Folder of the files; None in memory."""
        return self._kept.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for arguments of some types; None if there is none, or it cannot be read."""
        # A file that was cut off by a full disk or a loss of power raises whatever pickle makes of it.
        with suppress(Exception):
            return self._kept.load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep code for arguments of some types, if there is room."""
        try:
            self._kept.save_overload(sig, data)
        except OSError:
            pass
        except Exception:
            # The index is broken: it is begun anew.
            with suppress(Exception):
                self._kept.flush()
                self._kept.save_overload(sig, data)

    def flush(self) -> None:
        """Forget what is kept."""
        with suppress(OSError):
            self._kept.flush()


class _Locator(_CacheLocator):
    """Place of a kernel, and what it was compiled from."""

    def __init__(self, kernel: FunctionType) -> None:
        self._py_file, self._line = kernel.__code__.co_filename, kernel.__code__.co_firstlineno
        self.stamp = ""

    @classmethod
    def from_function(cls, py_func: FunctionType, py_file: str) -> _Locator:
        return cls(py_func)

    def get_cache_path(self) -> str:
        return str(folder_of(self._py_file))

    def get_source_stamp(self) -> str:
        return self.stamp

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Kept(CompileResultCacheImpl):
    _locator_classes = (_Locator,)

    @property
    def locator(self) -> Any:
        return self._locator


class _KernelCache(Cache):
    _impl_class = _Kept

    def __init__(self, kernel: FunctionType, stamp: str) -> None:
        super().__init__(kernel)
        self._cache_file._source_stamp = stamp


# ---------------------------------------------------------------- where


@lru_cache
def folder_of(file: str) -> Path | None:
    """Folder for the kernels of a source file: the first of several that can be written; None for none.

    That which ``NUMBA_CACHE_DIR`` names, the one beside the source, the user's for caches, one of the user's own among
    temporary files.
    """
    source = Path(file)
    own = f"{source.parent.name}_{hashlib.sha256(str(source.parent).encode()).hexdigest()[:16]}"
    candidates = [Path(config.CACHE_DIR) / own] if config.CACHE_DIR else []
    candidates += [source.parent / "__pycache__", *(folder / own for folder in _user_folders())]
    found = next((folder for folder in candidates if _writable(folder)), None)
    return found or _temporary_folder(own)


def _user_folders() -> list[Path]:
    """Folder of the user for caches, if the user has one: the homes of service accounts are not made here."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return [Path(given) / "bayesmv" / "kernels"]
    there = os.path.isdir(os.path.expanduser("~"))
    return [Path(AppDirs(appname="bayesmv", appauthor=False).user_cache_dir) / "kernels"] if there else []


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError):
        return False
    return True


def _temporary_folder(own: str) -> Path | None:
    """Folder among temporary files that nobody else can write to: code is loaded from it."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    try:
        top = Path(tempfile.gettempdir()) / f"bayesmv-{user}"
        top.mkdir(mode=0o700, exist_ok=True)
        found = top.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    if sys.platform != "win32" and (found.st_uid != user or stat.S_IMODE(found.st_mode) & 0o022):
        return None
    return top / own if _writable(top / own) else None


# ---------------------------------------------------------------- what


def fingerprint(kernel: FunctionType, options: dict[str, Any]) -> str:
    """Digest of a kernel and of all functions and constants that are compiled with it."""
    digest = hashlib.blake2b(digest_size=16)
    for word in _of_function(kernel, set()):
        digest.update(word.encode() + b"\0")
    digest.update(repr(sorted((name, _plain(value)) for name, value in options.items())).encode())
    return digest.hexdigest()


def _plain(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, set | frozenset) else repr(value)


def _of(value: Any, names: set[str], seen: set[int]) -> Iterator[str]:
    """Words that tell a value that a kernel uses from another; `names` are the attributes that may be asked of it."""
    if isinstance(value, Dispatcher):
        yield _plain(sorted((name, _plain(option)) for name, option in value.targetoptions.items()))
        yield from _of_function(value.py_func, seen)
    elif isinstance(value, _Intrinsic):
        yield from _of_function(value._defn, seen)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, seen)
    elif isinstance(value, ModuleType):
        yield value.__name__
        if value.__name__.split(".")[0] == _PACKAGE.name:
            for name in sorted(names & set(vars(value))):
                yield from _of(vars(value)[name], names, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    elif isinstance(value, str | bytes | int | float | complex | tuple | frozenset | set | None):
        yield _plain(value)
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}"


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    """Words of a function: its code, and what the names in it stand for."""
    if id(function) in seen:
        return
    seen.add(id(function))
    yield function.__qualname__
    # What is not ours changes with the version of its package, which numba looks at itself.
    if not function.__module__.startswith(_PACKAGE.name):
        yield function.__module__
        return
    names: set[str] = set()
    yield from _of_code(function.__code__, names)
    yield repr(function.__defaults__)
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield from _of(cell.cell_contents, names, seen)
    for name in sorted(names & set(function.__globals__)):
        yield name
        yield from _of(function.__globals__[name], names, seen)


def _of_code(code: CodeType, names: set[str]) -> Iterator[str]:
    names.update(code.co_names)
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names)
        else:
            yield _plain(constant)

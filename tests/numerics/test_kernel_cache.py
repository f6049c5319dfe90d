"""Compiled kernels on disk: known by what went into them, kept where one may write, else in memory."""

import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest

from bayesmv.numerics import kernel_cache
from bayesmv.numerics.compiled import njit
from bayesmv.numerics.kernel_cache import fingerprint, folder_of

SHIFT = 1.0


@njit(inline="always")
def callee(x):
    return x + SHIFT


def kernel(x):
    return callee(x) * 2.0


def with_globals(function, **changes):
    """The same function among other globals."""
    return FunctionType(function.__code__, function.__globals__ | changes, function.__name__)


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Functions of this file count as the package's."""
    monkeypatch.setattr(kernel_cache, "_PACKAGE", type(kernel_cache._PACKAGE)(__name__))
    folder_of.cache_clear()
    yield
    folder_of.cache_clear()


def test_fingerprint__follows_code_callees_constants_and_options():
    before = fingerprint(kernel, {})
    assert before == fingerprint(kernel, {})

    def other(x):
        return callee(x) * 3.0

    other.__qualname__ = kernel.__qualname__
    assert fingerprint(with_globals(other), {}) != before
    assert fingerprint(kernel, {"fastmath": {"reassoc"}}) != before
    faster = njit(inline="always", fastmath=True)(callee.py_func)
    assert fingerprint(with_globals(kernel, callee=faster), {}) != before
    moved = njit(inline="always")(with_globals(callee.py_func, SHIFT=2.0))
    assert fingerprint(with_globals(kernel, callee=moved), {}) != before
    again = njit(inline="always")(with_globals(callee.py_func, SHIFT=1.0))
    assert fingerprint(with_globals(kernel, callee=again), {}) == before


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), "word", (1, 2), 3])
def test_fingerprint__follows_constants_of_every_kind(value):
    changed = {np.ndarray: np.array([1.0, 3.0]), str: "words", tuple: (1, 3), int: 4}[type(value)]

    def body():
        return SHIFT

    assert fingerprint(with_globals(body, SHIFT=value), {}) == fingerprint(with_globals(body, SHIFT=value), {})
    assert fingerprint(with_globals(body, SHIFT=value), {}) != fingerprint(with_globals(body, SHIFT=changed), {})


def nothing_but(monkeypatch, *folders):
    writable = kernel_cache._writable
    allowed = [str(folder) for folder in folders]
    monkeypatch.setattr(
        kernel_cache, "_writable", lambda folder: str(folder).startswith(tuple(allowed)) and writable(folder)
    )


def test_folder__beside_the_source_the_user_s_or_a_temporary_one(tmp_path, monkeypatch):
    home, temporary, source = tmp_path / "home", tmp_path / "tmp", tmp_path / "package" / "a.py"
    for folder in (home, temporary, source.parent):
        folder.mkdir()
    monkeypatch.setattr(kernel_cache.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    assert folder_of(str(source)) == source.parent / "__pycache__"
    for places, expected in (((home, temporary), home), ((temporary,), temporary)):
        folder_of.cache_clear()
        nothing_but(monkeypatch, *places)
        assert str(folder_of(str(source))).startswith(str(expected))
    folder_of.cache_clear()
    nothing_but(monkeypatch)
    assert folder_of(str(source)) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no modes of folders")
def test_folder__not_one_that_others_can_write_to(tmp_path, monkeypatch):
    """Code is loaded from it."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    found = kernel_cache._temporary_folder("own")
    assert found is not None
    assert (found.parent.stat().st_mode & 0o777) == 0o700
    found.parent.chmod(0o777)
    assert kernel_cache._temporary_folder("own") is None


def test_cache__hits_misses_broken_files_and_full_disks(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache.config, "CACHE_DIR", str(tmp_path))
    first = njit(cache=True)(kernel)
    assert first(1.0) == 4.0
    assert first.stats.cache_misses
    again = njit(cache=True)(kernel)
    assert again(1.0) == 4.0
    assert again.stats.cache_hits
    for path in tmp_path.rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[:20])
    broken = njit(cache=True)(kernel)
    assert broken(1.0) == 4.0
    mended = njit(cache=True)(kernel)
    assert mended(1.0) == 4.0
    assert mended.stats.cache_hits

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert njit(cache=True)(kernel)(1) == 4


MOUNT = "mount --bind {0} {0} && mount -o remount,ro,bind {0}"


@pytest.mark.slow
def test_process__package_and_home_that_are_read_only(tmp_path):
    """Twice, in a mount of its own: the first compiles, the second finds it."""
    import shutil
    from pathlib import Path

    import bayesmv

    root = Path(bayesmv.__file__).parents[1]
    for name in ("bayesmv", "models"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; sys.argv = ['bayesmv', 'reml', 'growth_regression', '--csv']; import bayesmv.cli as c; c.main()"
    tmp = tmp_path.parent / "tmp"
    tmp.mkdir()
    run = f"env -i PATH=/usr/bin:/bin HOME={tmp_path}/home TMPDIR={tmp} PYTHONPATH={tmp_path} {sys.executable} -c"
    command = ["unshare", "-m", "sh", "-c", f'{MOUNT.format(tmp_path)} && cd / && {run} "{code}"']
    try:
        runs = [subprocess.run(command, capture_output=True, text=True, timeout=300, check=False) for _ in range(2)]
    except FileNotFoundError:
        pytest.skip("no unshare: nothing can be mounted read-only")
    if "unshare" in runs[0].stderr or "mount" in runs[0].stderr:
        pytest.skip("not allowed to mount: nothing can be made read-only")
    for done in runs:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("term,trait_i")
    assert list(tmp.rglob("*.nbi"))

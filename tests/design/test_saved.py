"""Files are written whole or not at all, and never over what another run wrote."""

import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayesmv.design.saved import Target, drop_parts, read_tree, write_tree, write_whole


def tree(n=3):
    return xr.DataTree.from_dict({"a": xr.Dataset({"x": ("t", np.random.default_rng(1).normal(size=n))})})


def text(words):
    return lambda part: part.write_text(words)


def test_write_whole__what_stood_there_stays_until_all_is_written(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("before")
    path.chmod(0o640)

    def half(part):
        part.write_text("half")
        assert part.parent == tmp_path
        assert part.suffix == ".csv"
        assert path.read_text() == "before"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, half)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, text("after"))
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_write_whole__follows_links_and_leaves_other_names_of_the_file(tmp_path):
    (tmp_path / "folder").mkdir()
    path, link, other = tmp_path / "folder" / "a", tmp_path / "link", tmp_path / "other"
    path.write_text("before")
    link.symlink_to("folder/a")
    os.link(path, other)
    write_whole(link, text("after"))
    assert link.is_symlink()
    assert (path.read_text(), other.read_text()) == ("after", "before")


def test_write_whole__devices_stay_devices():
    write_whole("/dev/null", text("nothing"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_whole("/dev/full", text("something"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_drop_parts__takes_away_what_is_being_written(tmp_path):
    def quit_in_the_middle(part):
        part.write_text("half")
        drop_parts()
        assert not part.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", quit_in_the_middle)
    assert not list(tmp_path.iterdir())


def test_target__keeps_what_another_run_wrote(tmp_path):
    path = tmp_path / "draws.nc"
    path.write_text("of last week")
    one, two = Target(path), Target(path)
    one.write(text("one, so far"))
    one.write(text("one"))
    assert (one.path, one.moved) == (path, False)
    two.write(text("two, so far"))
    two.write(text("two"))
    assert (two.path, two.moved) == (tmp_path / "draws.2.nc", True)
    assert (path.read_text(), two.path.read_text()) == ("one", "two")
    three = Target(tmp_path / "new.nc")
    (tmp_path / "new.nc").write_text("appeared meanwhile")
    three.write(text("three"))
    assert three.path == tmp_path / "new.2.nc"


def test_write_tree__reads_back_and_overwrites_what_was_read(tmp_path):
    path = tmp_path / "draws.nc"
    for _ in range(2):
        write_tree(tree(), path)
        again = read_tree(path)
        again.to_netcdf(path)
        xr.testing.assert_identical(read_tree(path)["a"].to_dataset(), tree()["a"].to_dataset())
        write_tree(again, path)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("not allowed to mount: there is no small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_write_tree__full_disk(full_disk):
    path = full_disk / "draws.nc"
    write_tree(tree(), path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        write_tree(tree(10**6), path)
    assert [p.name for p in Path(full_disk).iterdir()] == ["draws.nc"]
    assert path.read_bytes() == before

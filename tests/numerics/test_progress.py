"""What is shown of progress: on a terminal, of what takes long, one line that goes away."""

import time

import numpy as np
import pytest

from bayesmv.numerics import progress
from bayesmv.numerics.progress import waiting, watched


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)


def test_waiting__says_what_goes_on(impatient, capfd):
    with waiting("Inverting [a] matrix", wanted=True) as say:
        time.sleep(0.3)
        say("Nearly done")
        time.sleep(0.3)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Inverting [a] matrix" in err


def test_waiting__nothing_of_what_is_quick(capfd):
    with waiting("Inverting", wanted=True) as say:
        say("Inverted")
    assert capfd.readouterr() == ("", "")


def test_waiting__nothing_off_a_terminal(impatient, capfd):
    with waiting("Inverting"):
        time.sleep(0.1)
    assert capfd.readouterr() == ("", "")


def test_waiting__an_inner_one_is_silent_and_the_outer_goes_on(impatient, capfd):
    with waiting("Outer", wanted=True) as say:
        time.sleep(0.2)
        with waiting("Inner", wanted=True) as inner:
            inner("Inner still")
            time.sleep(0.2)
        say("Outer again")
    err = capfd.readouterr().err
    assert "Outer" in err
    assert "Inner" not in err
    with waiting("Next", wanted=True):
        time.sleep(0.2)
    assert "Next" in capfd.readouterr().err


def test_waiting__ends_with_an_exception(impatient):
    for _ in range(2):
        with pytest.raises(ValueError, match="of the body"), waiting("Failing", wanted=True):
            raise ValueError("of the body")


def test_watched__hands_the_items_on(impatient, capfd):
    def slowly():
        for i in range(4):
            time.sleep(0.1)
            yield i

    assert list(watched(slowly(), "Counting", 4, wanted=True)) == [0, 1, 2, 3]
    assert "Counting: " in capfd.readouterr().err
    np.testing.assert_array_equal(list(watched(iter(range(3)), "Counting", 3)), [0, 1, 2])

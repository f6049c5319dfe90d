"""Log densities as C functions: what they find in memory, threads that call at once, what the sampler draws."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from numba import carray

from bayesmv.posterior.native import DirectDensity, claim, copy_point, report
from bayesmv.sampling.nutpie import import_nutpie, nuts_model, read_trace


class Part(NamedTuple):
    matrix: np.ndarray
    count: int
    half: float
    none: np.ndarray
    seen: np.ndarray


class Normal(NamedTuple):
    free: np.ndarray
    work: np.ndarray
    precision: np.ndarray
    pair: tuple[np.ndarray, np.ndarray]
    part: Part


def _normal(length, x, gradient, value, copies):
    """Write a normal density, the slow way through scratch memory that another thread could spoil."""
    i = claim(copies)
    data, z = copies[i], carray(x, (length,))
    slope = np.zeros(length)
    for _ in range(data.part.count):
        data.work[:] = z
        for a in range(length):
            slope[a] = 0.0
            for b in range(length):
                slope[a] -= data.precision[a, b] * data.work[b] * data.part.half * 2.0
    total = data.pair[0][1] + data.pair[1][0] + data.part.matrix[1, 0] + len(data.part.none)
    if not data.part.seen[1]:
        total = np.nan
    return report(copies, i, (total + 0.5 * np.sum(slope * data.work), slope), gradient, value)


PRECISION = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])


def normal(threads=1, times=1, seen=True):
    free, table = np.zeros(threads, dtype=np.int64), np.arange(12.0).reshape(3, 4)
    # A part of a column, a transposed matrix and an array of no numbers: whatever numpy may hand over.
    part = Part(table[1:, ::2].T, times, 0.5, np.zeros((0, 2)), np.array([False, seen]))
    pair = (table[:, 1], table[2])
    return DirectDensity(_normal, [Normal(free, np.zeros(3), PRECISION, pair, part) for _ in range(threads)])


def expected(z):
    return 5.0 + 8.0 + 6.0 - 0.5 * z @ PRECISION @ z, -PRECISION @ z


def test_direct_density__finds_its_data():
    z = np.array([0.3, -1.0, 2.0])
    value, gradient = normal()(z)
    assert value == pytest.approx(expected(z)[0], rel=1e-14)
    np.testing.assert_allclose(gradient, expected(z)[1], rtol=1e-14)


def test_direct_density__numbers_are_those_of_the_instance():
    # Compiled once for both: the numbers are data, not part of the code.
    one, other = normal(times=1), normal(times=0)
    assert one(np.ones(3))[1] @ np.ones(3) == pytest.approx(-PRECISION.sum())
    assert other(np.ones(3))[1] @ np.ones(3) == 0.0
    assert one.address == other.address


@pytest.mark.parametrize("z", [np.array([np.nan, 0.0, 0.0]), np.array([0.0, np.inf, 0.0])])
def test_direct_density__not_finite(z):
    value, gradient = normal()(z)
    assert value == -np.inf
    assert not gradient.any()


def test_direct_density__not_finite_value_with_a_finite_gradient():
    assert normal(seen=False)(np.ones(3))[0] == -np.inf


def test_direct_density__is_free_again_after_a_failure():
    density = normal()
    density(np.full(3, np.nan))
    assert density(np.zeros(3))[0] == 19.0


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_direct_density__threads_that_call_at_once(copies):
    density, points = normal(copies, times=2000), np.random.default_rng(1).normal(size=(400, 3))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(density, points))
    for z, (value, gradient) in zip(points, found, strict=True):
        assert value == pytest.approx(expected(z)[0], rel=1e-12)
        np.testing.assert_allclose(gradient, expected(z)[1], rtol=1e-12)


def test_direct_density__raises_on_copies_of_different_types():
    free = np.zeros(2, dtype=np.int64)
    with pytest.raises(TypeError, match="the copies differ in type"):
        DirectDensity(_normal, [(free, np.zeros(3)), (free, np.zeros((3, 3)))])


def test_copy_point__is_compiled_once():
    assert copy_point().address == copy_point().address


def test_nuts_model__draws_the_same_from_python_as_directly():
    density = normal(threads=2)
    settings = {"draws": 30, "tune": 40, "chains": 3, "seed": 5, "cores": 2}

    def start(seed):
        return np.random.default_rng(seed).normal(size=3)

    def run(make_density):
        model = nuts_model(make_density, 3, start)
        raw = import_nutpie().sample(model, save_warmup=False, return_raw_trace=True, progress_bar=False, **settings)
        return np.stack(read_trace(raw, settings).x)

    direct, python = run(lambda: density), run(lambda: lambda z: density(z))
    assert direct.shape == (3, 30, 3)
    np.testing.assert_array_equal(direct, python)

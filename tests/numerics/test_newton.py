"""Newton ascent: where it ends, and what it learns of a Hessian that is not the right one."""

import numpy as np
import pytest

from bayesmv.numerics.newton import TOLERANCE, Local, climb

D = 12
ROOT = np.random.default_rng(4).normal(size=(D, D)) / np.sqrt(D) + np.eye(D)
H = ROOT @ ROOT.T
TOP = np.linspace(-1.0, 1.0, D)


class Hill:
    """log density -½ (x - top)'H(x - top) - Σ(x - top)⁴ with a Hessian that is wrong by factors.

    Parameters
    ----------
    factors
        What the Hessian is multiplied by, along each of its eigenvectors.
    noise
        Rounding of the gradient.
    """

    def __init__(self, factors, noise=0.0):
        values, vectors = np.linalg.eigh(H)
        self.stated = vectors @ np.diag(values * factors) @ vectors.T
        self.noise, self.rng, self.gradients, self.expansions = noise, np.random.default_rng(1), 0, 0

    def value(self, x):
        r = x - TOP
        return -0.5 * float(r @ H @ r) - float(np.sum(r**4))

    def gradient(self, x):
        self.gradients += 1
        r = x - TOP
        return -H @ r - 4.0 * r**3 + self.noise * self.rng.normal(size=D)

    def expand(self, x):
        self.expansions += 1
        self.gradients -= 1
        return Local(self.value(x), self.gradient(x), self.stated)


@pytest.mark.parametrize(
    "factors",
    [np.ones(D), np.full(D, 30.0), np.full(D, 0.3), np.linspace(0.4, 20.0, D)],
    ids=["right", "creeps", "overshoots", "both"],
)
def test_climb__learns_the_hessian_from_its_steps(factors):
    hill = Hill(factors)
    end = climb(hill, np.zeros(D), 300)
    assert end.converged
    assert end.iterations < 90
    assert hill.gradients == 0
    # What is left, in standard errors.
    assert np.sqrt((end.theta - TOP) @ H @ (end.theta - TOP)) < 1e-4


def test_climb__costs_one_expansion_a_step():
    hill = Hill(np.full(D, 30.0))
    end = climb(hill, np.zeros(D), 300)
    assert (hill.expansions, hill.gradients) == (end.iterations + 1, 0)


def test_climb__ends_where_rounding_keeps_the_promise_from_falling():
    noise = 1e-5  # promises about D * noise² = 1e-9
    end = climb(Hill(np.ones(D), noise), np.zeros(D), 300)
    assert end.converged
    assert end.iterations < 60
    assert end.gradient @ np.linalg.solve(H, end.gradient) > TOLERANCE
    assert np.sqrt((end.theta - TOP) @ H @ (end.theta - TOP)) < 1e-4


def test_climb__nothing_to_climb():
    assert climb(Hill(np.ones(D)), TOP, 300).iterations == 1

"""Which density the sampler gets: compiled where all of it compiles, else all of it in Python."""

from dataclasses import replace

import numpy as np
import pytest
from traces import make_design

from bayesmv.likelihood.choose import ENGINES
from bayesmv.likelihood.spectral.missing import MissingCells
from bayesmv.posterior.compiled import Density, c_function, compiles
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.posterior.sampler_density import PlainDensity, sampler_density


class Delegate:
    """An engine with what the contract asks of it and no more: it hands on to another."""

    name, universal = "delegate", False

    def __init__(self, engine):
        self.engine = engine

    def fork(self):
        return Delegate(self.engine.fork())

    def loglik(self, sigmas):
        return self.engine.loglik(sigmas)

    def value_and_gradient(self, sigmas):
        return self.engine.value_and_gradient(sigmas)

    def average_information(self, sigmas):
        return self.engine.average_information(sigmas)


def planar(residual="us"):
    return log_posterior(make_design(residual=f"{residual}(trait):units")).planar()


def map_to(posterior):
    d = posterior.blocks.n_parameters
    return np.where(posterior.coordinates.scales, 1.0, 0.0), np.eye(d)


#: Engines that are called in Python: products of large matrices, beside which the call is short.
IN_PYTHON = (MissingCells,)


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine not in IN_PYTHON])
def test_c_function__every_engine_has_its_own(engine):
    function = c_function.dispatch(engine)
    assert function is not c_function.dispatch(object)
    assert sum(c_function.dispatch(other) is function for other in ENGINES) == 1


def test_sampler_density__an_engine_without_a_compiled_form_is_called_in_python():
    posterior = planar()
    delegated = replace(posterior, engine=Delegate(posterior.engine))
    assert compiles(posterior)
    assert not compiles(delegated)
    compiled, plain = (sampler_density(p, *map_to(p)) for p in (posterior, delegated))
    assert isinstance(compiled, Density)
    assert isinstance(plain, PlainDensity)
    z = np.random.default_rng(1).normal(0.0, 0.2, len(map_to(posterior)[0]))
    (value, gradient), (other, its) = compiled(z), plain(z)
    assert value == pytest.approx(other, rel=1e-11)
    np.testing.assert_allclose(gradient, its, rtol=1e-9, atol=1e-9 * np.abs(its).max())


def test_sampler_density__a_structure_that_stands_in_no_factor_is_evaluated_in_python():
    posterior = planar("corh")
    assert not compiles(posterior)
    assert isinstance(sampler_density(posterior, *map_to(posterior)), PlainDensity)


def test_density__raises_without_a_compiled_form():
    posterior = planar()
    with pytest.raises(TypeError, match="no compiled density for Delegate"):
        Density(replace(posterior, engine=Delegate(posterior.engine)), *map_to(posterior))
    posterior = planar("corh")
    with pytest.raises(TypeError, match="no compiled density for the structure corh"):
        Density(posterior, *map_to(posterior))

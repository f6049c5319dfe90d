"""The PyMC models with effects integrated out and with effects sampled have one posterior, that of `sample`."""

from itertools import combinations

import numpy as np
import nutpie
import pytest
from arviz_stats.base import array_stats
from oracles import all_patterns, random_case

from bayesmv.dims import correlation_name, sd_name
from bayesmv.pymc_model import build_model
from bayesmv.sampling.sample import sample

pytestmark = pytest.mark.slow

#: Monte Carlo standard errors that a difference may have. 3 pairs × 6 quantities × 2 moments are compared; if the
#: estimates were normal with known errors, a false alarm would have probability 36 · 2Φ(-4.5) = 2.4e-4. The errors are
#: estimated, with 10 % error at worst, which leaves it below 36 · 2Φ(-4.0) = 2.3e-3; the seeds are fixed.
LIMIT = 4.5

DRAWS, CHAINS = 1500, 4


def by_pymc(design, effects):
    compiled = nutpie.compile_pymc_model(build_model(design, effects=effects))
    return nutpie.sample(
        compiled, draws=DRAWS, tune=600, chains=CHAINS, cores=2, seed=11, target_accept=0.95, progress_bar=False
    )


def quantities(design, posterior):
    """Log standard deviations and Fisher's z of correlations, (chains, draws) each: nearly normal."""
    out = {}
    for name in design.names:
        for i, trait in enumerate(design.traits):
            out[f"log sd {name} {trait}"] = np.log(posterior[sd_name(name)].to_numpy()[..., i])
        out[f"correlation {name}"] = np.arctanh(posterior[correlation_name(name)].to_numpy()[..., 0, 1])
    return out


@pytest.fixture(scope="module")
def posteriors():
    design = random_case(3, 2, "us(trait):vm(animal, A)", patterns=all_patterns(2), n=60).design
    trees = {
        "marginal": by_pymc(design, "marginal"),
        "sampled": by_pymc(design, "sampled"),
        "sample": sample(design, draws=DRAWS, tune=600, chains=CHAINS, seed=12, progress=False),
    }
    return {name: quantities(design, tree["posterior"]) for name, tree in trees.items()}


def moments(draws, centre, spread):
    """First and second moment about a common centre, with their Monte Carlo standard errors."""
    standard = (draws - centre) / spread
    return [(float(x.mean()), float(array_stats.mcse(x, chain_axis=0, draw_axis=1))) for x in (standard, standard**2)]


@pytest.mark.parametrize("pair", list(combinations(("marginal", "sampled", "sample"), 2)), ids="-".join)
def test_parameterisations__same_posterior(posteriors, pair):
    one, other = (posteriors[name] for name in pair)
    for name, draws in one.items():
        centre, spread = draws.mean(), draws.std()
        pairs = zip(moments(draws, centre, spread), moments(other[name], centre, spread), strict=True)
        for (a, error_a), (b, error_b) in pairs:
            assert abs(a - b) < LIMIT * np.hypot(error_a, error_b), name


def test_parameterisations__errors_are_small_enough_to_tell(posteriors):
    # A difference of a quarter of a posterior sd would be found.
    for draws in posteriors.values():
        for name, values in draws.items():
            (_, error), _ = moments(values, values.mean(), values.std())
            assert error < 0.25 / (np.sqrt(2.0) * LIMIT), name

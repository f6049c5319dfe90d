"""Trials in two and three blocks, block effects of 0.1 to 20 standard deviations: the sampler ends well by itself.

One fit in 20 may have a divergence left. R-hat is at most 1.01 in all, which a run goes on for: a false alarm would be
a run of 20,000 draws that does not get there.
"""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.sampling.convergence import convergence

CASES = 20


def trial(case: int) -> tuple[pd.DataFrame, list[str], float]:
    """Trial of 2 to 5 traits, 2 or 3 blocks, 40 to 159 lines; the traits in any units."""
    rng = np.random.default_rng([11, case])
    t, blocks, lines = 2 + case % 4, 2 + (case // 4) % 2, [40, 80, 159][case % 3]
    size = float(np.geomspace(0.1, 20.0, CASES)[case])

    def covariance(variance: float) -> np.ndarray:
        A = rng.normal(size=(t, t + 2))
        sd = np.sqrt(np.diag(A @ A.T))
        return A @ A.T / np.outer(sd, sd) * variance

    G, R = covariance(0.4), covariance(0.6)
    u = rng.multivariate_normal(np.zeros(t), G, lines)
    b = size * rng.normal(size=(blocks, t))
    block, line = np.repeat(np.arange(blocks), lines), np.tile(np.arange(lines), blocks)
    y = b[block] + u[line] + rng.multivariate_normal(np.zeros(t), R, len(block))
    traits = [f"t{i}" for i in range(t)]
    data = pd.DataFrame(y * 10 ** rng.uniform(-1, 1, t), columns=traits)
    return data.assign(block=block, line=line), traits, size


def sampled(data: pd.DataFrame, traits: list[str], random: str, seed: int = 1):
    spec = bmv.ModelSpec.from_formula(" + ".join(traits) + " ~ 1", random=random)
    return convergence(bmv.sample(bmv.build_design(spec, data), seed=seed, cores=1, progress=False))


@pytest.mark.slow
def test_sample__few_blocks_at_default_settings():
    rows = []
    for case in range(CASES):
        data, traits, size = trial(case)
        verdict = sampled(data, traits, "us(trait):block + us(trait):line")
        rows.append(
            {
                "blocks": data["block"].nunique(),
                "traits": len(traits),
                "effects": size,
                "draws": verdict.draws,
                "divergences": verdict.divergences,
                "R-hat": verdict.worst_rhat,
                "ESS": verdict.smallest_ess,
                "converged": verdict.converged,
            }
        )
    table = pd.DataFrame(rows)
    print(table.round(4).to_string())
    assert (table["R-hat"] <= 1.01).all()
    assert (table["divergences"] > 0).sum() <= 1
    assert table["converged"].sum() >= CASES - 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sample__two_blocks_and_variances_of_zero(seed):
    """Blocks that do not differ in one trait, lines that do not differ in any."""
    rng = np.random.default_rng([7, seed])
    lines, effects = 80, np.array([10.0, -4.0, 0.0])
    block, line = np.repeat([0, 1], lines), np.tile(np.arange(lines), 2)
    traits = ["t0", "t1", "t2"]
    Y = effects * block[:, None] + rng.normal(size=(2 * lines, 3))
    verdict = sampled(
        pd.DataFrame(Y, columns=traits).assign(block=block, line=line), traits, "us(trait):block + us(trait):line", seed
    )
    assert verdict.worst_rhat <= 1.01
    assert verdict.divergences == 0

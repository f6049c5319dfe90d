"""Reading nutpie's draws, and what importing it loads."""

import subprocess
import sys

import numpy as np
import xarray as xr

from bayesmv.sampling.nutpie import import_nutpie, nuts_model, read_trace

SETTINGS = {"draws": 7, "tune": 20, "chains": 3, "seed": 4}


def gaussian():
    def start(seed):
        return np.random.default_rng(seed).normal(size=2)

    return nuts_model(lambda: lambda z: (-0.5 * float(z @ z), -z), 2, start)


def run(**options):
    return import_nutpie().sample(gaussian(), save_warmup=False, progress_bar=False, cores=1, **SETTINGS, **options)


def test_read_trace__as_nutpie_reads_it():
    expected = run()
    x, stats = read_trace(run(return_raw_trace=True), SETTINGS).run()
    np.testing.assert_array_equal(x, expected["posterior"]["z"].to_numpy())
    xr.testing.assert_equal(stats, expected["sample_stats"].to_dataset())
    assert {n: v.dtype for n, v in stats.items()} == {n: v.dtype for n, v in expected["sample_stats"].data_vars.items()}
    assert stats.attrs["inference_library"] == "nutpie"
    assert '"seed": 4' in stats.attrs["inference_library_settings"]


def test_read_trace__chains_that_were_interrupted():
    draws, stats = run(return_raw_trace=True).get_arrow_trace()

    class Raw:
        """What nutpie leaves when the second chain of three has made 3 of 7 draws."""

        def get_arrow_trace(self):
            return [draws[0], draws[1].slice(0, 23), draws[2]], [stats[0], stats[1].slice(0, 23), stats[2]]

    cut, (whole, stats_of_whole) = read_trace(Raw(), {}), read_trace(run(return_raw_trace=True), {}).run()
    assert cut.lengths == [7, 3, 7]
    for c, n in enumerate(cut.lengths):
        np.testing.assert_array_equal(cut.x[c], whole[c, :n])
        np.testing.assert_array_equal(cut.stats[c]["logp"], stats_of_whole["logp"][c, :n])
    # The most draws: two chains of seven, not three of three.
    x, kept = cut.run()
    np.testing.assert_array_equal(x, whole[[0, 2]])
    np.testing.assert_array_equal(kept["n_steps"], stats_of_whole["n_steps"][[0, 2]])


def test_import__loads_no_plots_and_no_pymc_until_they_are_used():
    """One process: what `import bayesmv` loads, what nutpie loads on top, and that arviz is whole when it is used."""
    heavy = ["pymc", "pytensor", "matplotlib", "arviz_plots", "arviz_stats", "scipy.stats"]
    loaded = f"print([name for name in {heavy} if name in sys.modules])"
    code = (
        f"import sys, bayesmv; {loaded}; from bayesmv.sampling import nutpie; nutpie.import_nutpie(); {loaded}; "
        "import arviz; print(callable(arviz.summary))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n") == ["[]", "[]", "True", ""]

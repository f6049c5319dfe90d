"""Weighted points against densities that are known, and when `sample` takes them."""

import warnings
from types import SimpleNamespace

import not_gaussian
import numpy as np
import pytest
from scipy.special import log_ndtr
from traces import make_design, records

import bayesmv as bmv
from bayesmv.errors import ConvergenceWarning, SpecError
from bayesmv.posterior import dear
from bayesmv.posterior.log_posterior import log_posterior
from bayesmv.sampling import sample as module
from bayesmv.sampling.convergence import WEIGHTS
from bayesmv.sampling.settings import SamplerSettings
from bayesmv.sampling.values import Weighted, _Frame, _pareto_k, _Search, folded_coordinates, weighted_points

NONE = np.zeros(0, dtype=np.int64)


def search(log_density, mode, hessian, folded=NONE, want=1000.0, seed=1):
    return _Search(_Frame(mode, hessian, folded), log_density, want, seed).run(lambda x: x)


def moments(points):
    w = np.exp(points.log_weight - points.log_weight.max())
    mean = w @ points.x / w.sum()
    return mean, np.sqrt(w @ (points.x - mean) ** 2 / w.sum())


def test_points__of_a_correlated_normal_density():
    S = np.array([[1.0, 0.8, 0.0], [0.8, 2.0, 0.5], [0.0, 0.5, 3.0]])
    P, mode = np.linalg.inv(S), np.array([1.0, -2.0, 0.5])
    points = search(lambda x: -0.5 * np.einsum("na,ab,nb->n", x - mode, P, x - mode), mode, P)
    assert not points.objections
    assert points.ess > 1000
    assert points.k < 0.3
    mean, sd = moments(points)
    np.testing.assert_allclose(mean, mode, atol=4.0 * sd.max() / np.sqrt(points.ess))
    np.testing.assert_allclose(sd, np.sqrt(np.diag(S)), rtol=4.0 / np.sqrt(2.0 * points.ess))


def test_points__of_a_skew_density():
    """Skew-normal with shape 8: mean δ√(2/π), variance 1 - 2δ²/π."""

    def log_density(x):
        return (-0.5 * x**2 + log_ndtr(8.0 * x)).sum(axis=1)

    points = search(log_density, np.full(2, 0.2), 2.0 * np.eye(2))
    delta = 8.0 / np.sqrt(65.0)
    mean, sd = moments(points)
    assert not points.objections
    np.testing.assert_allclose(mean, delta * np.sqrt(2.0 / np.pi), atol=4.0 / np.sqrt(points.ess))
    np.testing.assert_allclose(sd, np.sqrt(1.0 - 2.0 * delta**2 / np.pi), rtol=4.0 / np.sqrt(2.0 * points.ess))


def test_points__of_mirror_images_are_folded():
    """The density is that of |N(1, 1)| and its mirror image; half of the points are of the image."""

    def log_density(x):
        return np.logaddexp(-0.5 * (x[:, 0] - 1.0) ** 2, -0.5 * (x[:, 0] + 1.0) ** 2) - 0.5 * x[:, 1] ** 2

    points = search(log_density, np.array([0.9, 0.0]), np.eye(2), np.array([0]))
    assert not points.objections
    assert points.x[:, 0].min() >= 0.0
    mean, _ = moments(points)
    folded = np.abs(1.0 + np.random.default_rng(0).standard_normal(400_000)).mean()
    assert mean[0] == pytest.approx(folded, abs=4.0 / np.sqrt(points.ess))


def test_points__that_leave_mass_bare_are_declined():
    """A curved ridge whose ends the proposals do not follow."""

    def log_density(x):
        return -0.5 * (x[:, 0] / 4.0) ** 2 - 0.5 * ((x[:, 1] - 0.5 * x[:, 0] ** 2) / 0.05) ** 2

    points = search(log_density, np.zeros(2), np.diag([1.0 / 16.0, 400.0]))
    assert points.objections


def test_pareto_k__of_weights_with_a_known_tail():
    rng = np.random.default_rng(3)
    for k in (0.3, 0.9):
        assert _pareto_k(-k * np.log(rng.random(20_000))) == pytest.approx(k, abs=0.15)


def test_resampled__is_a_chain_from_each_scramble_of_what_is_effective():
    rng = np.random.default_rng(1)
    x, replicate = rng.standard_normal((4000, 2)), np.arange(4000) % 4
    lw = x[:, 0]  # tilts the mean to 1
    ess = float(np.exp(lw).sum() ** 2 / np.exp(2.0 * lw).sum())
    points = Weighted(
        x=x, log_weight=lw, replicate=replicate, values=0, ess=ess, k=0.0, bare=0.0, objections=(), order=np.eye(2)[0]
    )
    chains = points.resampled(5)
    assert chains.lengths == [int(ess) // 4] * 4
    drawn = np.concatenate(chains.x)
    np.testing.assert_allclose(drawn.mean(axis=0), [1.0, 0.0], atol=4.0 / np.sqrt(ess))
    for r, mine in enumerate(chains.x):
        assert {tuple(row) for row in mine} <= {tuple(row) for row in x[replicate == r]}
        assert abs(np.corrcoef(mine[1:, 0], mine[:-1, 0])[0, 1]) < 5.0 / np.sqrt(len(mine))


@pytest.fixture(scope="module")
def fitted():
    design = make_design("us(trait):family", records())
    return design, bmv.fit_reml(design)


def test_weighted_points__do_not_depend_on_the_number_of_workers(fitted):
    design, fit = fitted
    posterior = module.suited(log_posterior(design, engine=fit.engine), fit.sigmas)
    mode = module.mode_metric(posterior, fit).centre
    hessian = posterior.expand(mode).hessian
    one, two = (weighted_points(posterior, mode, hessian, want=300.0, seed=3, workers=n) for n in (1, 2))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.log_weight, two.log_weight)
    assert len(folded_coordinates(posterior)) == sum(1 for _, off in posterior.coordinates.rows if not len(off))


def test_sample__by_values_says_so(fitted):
    design, fit = fitted
    trace = bmv.sample(design, reml=fit, method="values", min_ess=400, seed=1, effects=["family"])
    verdict = bmv.convergence(trace)
    assert verdict.converged
    assert "values of the posterior" in str(verdict)
    assert trace["posterior"].sizes["chain"] == 4
    assert verdict.smallest_ess >= 400
    assert trace["posterior"].sizes["draw"] * 4 == pytest.approx(verdict.smallest_ess, abs=4)
    assert "family_effect" in trace["posterior"]
    with pytest.raises(SpecError, match="cannot be resumed"):
        bmv.sample(design, resume=trace)


def test_sample__takes_nuts_where_values_are_declined(fitted, monkeypatch):
    design, fit = fitted
    monkeypatch.setattr(module, "weighted_points", lambda *_, **__: SimpleNamespace(objections=("one weight is all",)))
    monkeypatch.setattr(module, "_by_nuts", lambda *_: "nuts")
    with pytest.warns(ConvergenceWarning, match="not good enough here .one weight is all.: drawn with NUTS"):
        assert bmv.sample(design, reml=fit, method="values") == "nuts"
    monkeypatch.setattr(dear, "_DEAR", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bmv.sample(design, reml=fit) == "nuts"


def test_takes_values__where_nuts_would_be_dear(fitted, monkeypatch):
    design, fit = fitted
    posterior = module.suited(log_posterior(design, engine=fit.engine), fit.sigmas)

    def takes(**words):
        return module._takes_values(posterior, fit, SamplerSettings(**words), 1e-5)

    assert not takes()
    assert takes(method="values")
    monkeypatch.setattr(dear, "_DEAR", 0.0)
    assert takes() != bool(fit.at_boundary)
    assert not takes(draws=100)
    assert not takes(target_accept=0.9)
    assert not takes(method="nuts")
    monkeypatch.setattr(dear, "_PARAMETERS", 2)
    assert not takes()


def test_sample__by_values_writes_its_checkpoint(fitted, tmp_path):
    design, fit = fitted
    trace = bmv.sample(design, reml=fit, method="values", min_ess=400, seed=1, checkpoint=tmp_path / "t.nc")
    held = bmv.load_posterior(str(tmp_path / "t.nc"))
    np.testing.assert_array_equal(held["posterior"]["family_cov"], trace["posterior"]["family_cov"])
    assert bmv.convergence(held).converged


def test_sample__by_values_where_there_are_none_is_refused(fitted, monkeypatch):
    design, fit = fitted
    with pytest.raises(SpecError, match="no method 'points'; methods: 'auto', 'nuts', 'values'"):
        bmv.sample(design, method="points")
    with pytest.raises(SpecError, match=r"\(method=.values.\) so far only where every trait is Gaussian"):
        bmv.sample(not_gaussian.design(("z",), random="f"), method="values")
    monkeypatch.setattr(module, "_FOLDED", -1)
    with pytest.raises(SpecError, match="at most, not of 6 and"):
        bmv.sample(design, reml=fit, method="values")


def test_sample__looks_for_coordinates_once(fitted, monkeypatch):
    """They take an average information of every term, as long as evaluations that are dear."""
    design, fit = fitted
    calls, true = [], module.suited
    monkeypatch.setattr(module, "suited", lambda *given: calls.append(1) or true(*given))
    monkeypatch.setattr(module, "_by_nuts", lambda *_: "nuts")
    bmv.sample(design, reml=fit)
    assert calls == [1]


def test_weights__are_read_from_the_attributes(fitted):
    design, fit = fitted
    trace = bmv.sample(design, reml=fit, method="values", min_ess=400, seed=1)
    assert WEIGHTS in trace.attrs
    assert bmv.convergence(trace).weights

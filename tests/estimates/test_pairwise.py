"""All pairs of traits, against the fit of every pair from its own design."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.design.pairs import of_traits
from bayesmv.errors import DataError, SpecError
from bayesmv.estimates import pairwise as room

TRAITS = ("a", "b", "c", "d", "e")


def records(n=60, seed=3):
    """Lines with two records each: a, b, c recorded on all; d and e not on the last ten; e misses one more."""
    rng = np.random.default_rng(seed)
    line = np.repeat([f"L{i}" for i in range(n // 2)], 2)
    u = rng.normal(size=(n // 2, 5)) @ np.linalg.cholesky(0.5 * np.eye(5) + 0.5).T
    Y = np.repeat(u, 2, axis=0) + rng.normal(size=(n, 5)) + 3.0
    Y[-10:, 3:] = np.nan
    Y[0, 4] = np.nan
    return pd.DataFrame(Y * [1.0, 10.0, 0.1, 1.0, 5.0], columns=TRAITS).assign(
        line=line, site=np.tile(["x", "y", "z"], n // 3)
    )


def design(data=None, traits=TRAITS):
    spec = bmv.ModelSpec.from_formula(
        f"{' + '.join(traits)} ~ site", random="diag(trait):line", residual="diag(trait):units"
    )
    return bmv.build_design(spec, records() if data is None else data)


def test_pairs__are_those_of_two_trait_models():
    found = bmv.pairwise(design())
    assert list(found.table["records"]) == [60, 60, 50, 49, 60, 50, 49, 50, 49, 49]
    for row in found.table.itertuples():
        spec = bmv.ModelSpec.from_formula(f"{row.trait_i} + {row.trait_j} ~ site", random="us(trait):line")
        fit = bmv.fit_reml(bmv.build_design(spec, records()))
        value, error, word = fit.component("line", 1, 0, as_correlation=True)
        assert row.correlation == pytest.approx(value, abs=1e-5)
        assert row.std_error == pytest.approx(error, rel=1e-4, nan_ok=True)
        assert row.constraint == word
        assert row.residual == pytest.approx(fit.correlations["Residual"][1, 0], abs=1e-5)


def test_traits_recorded_alike__share_a_table(monkeypatch):
    others = []
    monkeypatch.setattr(room, "likelihood", lambda d, word: others.append(d.traits))
    work = room._Work(design(), "line", False, 1, *room._tables(design(), range(5), 1))
    assert len(work.tables) == 1  # d and e differ by a unit
    for i, j in ((0, 1), (1, 2)):
        assert work._engine(of_traits(work.design, [i, j]), i, j).name == "spectral"
    work._engine(of_traits(work.design, [3, 4]), 3, 4)
    assert others == [("d", "e")]


def test_design_of_some_traits__has_the_units_that_record_them():
    two = of_traits(design(), [3, 4])
    spec = bmv.ModelSpec.from_formula("d + e ~ site", random="us(trait):line")
    built = bmv.build_design(spec, records())
    assert len(two.units) == len(built.units) == 50
    np.testing.assert_array_equal(two.response, built.response)
    assert two.kept.sum() == 50
    assert bmv.fit_reml(two).loglik == pytest.approx(bmv.fit_reml(built).loglik, abs=1e-6)


def test_variance_of_zero__is_on_the_boundary():
    data = records()
    rng = np.random.default_rng(0)
    data["b"] = rng.permutation(np.tile([1.0, -1.0], 30)) * 0.1 + np.tile([1.0, -1.0], 30)  # opposite within lines
    found = bmv.pairwise(design(data, ("a", "b")))
    assert found.table.loc[0, "constraint"] == "boundary"
    assert np.isnan(found.table.loc[0, "std_error"])
    assert "1 boundary" in repr(found)


def test_file__is_taken_up_where_it_was_left(tmp_path, monkeypatch):
    path = tmp_path / "pairs.csv"
    whole = bmv.pairwise(design(), path=path)
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join(lines[:6]) + lines[6][:9])  # killed within a line
    fitted = []
    row = room._Work.row
    monkeypatch.setattr(room._Work, "row", lambda self, i, j: fitted.append((i, j)) or row(self, i, j))
    again = bmv.pairwise(design(), path=path)
    assert len(fitted) == 6
    pd.testing.assert_frame_equal(again.table, whole.table)
    assert path.read_text() == text
    bmv.pairwise(design(), path=path, traits=["a", "e"])
    assert len(fitted) == 6


def test_file__of_other_data_is_refused_and_kept(tmp_path):
    path = tmp_path / "pairs.csv"
    bmv.pairwise(design(), path=path, traits=["a", "b"])
    text = path.read_text()
    with pytest.raises(DataError, match="is not of pairs of this data and model; name another file"):
        bmv.pairwise(design(records(seed=4)), path=path)
    assert path.read_text() == text
    path.write_bytes(b"\xff\xfe\x00no table")
    with pytest.raises(DataError, match="is not of pairs of this data and model"):
        bmv.pairwise(design(), path=path)
    assert path.read_bytes() == b"\xff\xfe\x00no table"


def test_matrix__is_symmetric_and_clustered_by_likeness():
    table = pd.DataFrame(
        [(i, j, 40, r) for (i, j), r in zip((("a", "b"), ("a", "c"), ("b", "c")), (0.1, 0.9, np.nan), strict=True)],
        columns=["trait_i", "trait_j", "records", "correlation"],
    )
    found = bmv.Pairwise(term="line", traits=("a", "b", "c"), table=table)
    np.testing.assert_array_equal(found.matrix().to_numpy(), [[1, 0.1, 0.9], [0.1, 1, np.nan], [0.9, np.nan, 1]])
    assert np.isnan(np.diag(found.matrix("records"))).all()
    order = list(found.clustered().index)
    assert abs(order.index("a") - order.index("c")) == 1
    with pytest.raises(SpecError, match="'nothing' is not a column of pairs"):
        found.matrix("nothing")


@pytest.mark.parametrize(
    ("random", "words", "message"),
    [
        ("diag(trait):line", {"traits": ["a", "x"]}, "no trait 'x'"),
        ("diag(trait):line", {"traits": ["a"]}, "at least two traits"),
        ("diag(trait):line", {"cores": 0}, "cores must be at least 1"),
        ("diag(trait):line + diag(trait):site", {}, "which term the correlations are of is not said"),
        ("diag(trait):line", {"term": "animal"}, "no random term 'animal'"),
        ("us(leg(age, 1)):line", {}, "the effects of 'line' are not one for each trait"),
    ],
)
def test_what_has_no_pairs__is_refused(random, words, message):
    data = records().assign(age=np.arange(60.0) % 7)
    traits = "a" if "leg" in random else "a + b"
    built = bmv.build_design(bmv.ModelSpec.from_formula(f"{traits} ~ 1", random=random), data)
    with pytest.raises(SpecError, match=message):
        bmv.pairwise(built, **words)


def test_posterior__is_beside_reml(monkeypatch):
    draws = np.random.default_rng(0).uniform(0.2, 0.4, size=(4, 500))
    corr = np.ones((4, 500, 2, 2))
    corr[:, :, 0, 1] = corr[:, :, 1, 0] = draws
    seen = []

    def sampled(d, **words):
        seen.append((d.traits, words["seed"]))
        return SimpleNamespace(posterior={"line_corr": SimpleNamespace(to_numpy=lambda: corr)})

    monkeypatch.setattr(room, "sample", sampled)
    found = bmv.pairwise(design(), traits=["a", "b"], posterior=True, seed=7)
    assert seen == [(("a", "b"), 7)]
    assert found.table.loc[0, "median"] == pytest.approx(np.median(draws))
    assert 0.2 <= found.table.loc[0, "hdi_low"] < found.table.loc[0, "hdi_high"] <= 0.4


@pytest.mark.slow
def test_processes__do_not_change_the_answers(monkeypatch):
    monkeypatch.setattr(room, "_BATCH", 3)
    pd.testing.assert_frame_equal(bmv.pairwise(design(), cores=2).table, bmv.pairwise(design()).table)

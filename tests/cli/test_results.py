"""Commands on results: predict, wald, effects, priors, report."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesmv as bmv
from bayesmv.cli.commands import app
from bayesmv.errors import SpecError

run = CliRunner().invoke


def test_predict__cells_and_values():
    out = run(app, ["predict", "growth_regression", "--at", "age=30,60", "--csv"], catch_exceptions=False)
    table = pd.read_csv(pd.io.common.StringIO(out.stdout))
    assert table["age"].tolist() == [30.0, 60.0]
    fit = bmv.fit_reml(bmv.load_design("growth_regression"))
    mine = bmv.predict(fit, {"age": [30, 60]}).frame
    assert table["predicted"].to_numpy() == pytest.approx(mine["predicted"].to_numpy())
    shown = run(app, ["predict", "canty_us", "--at", "Family=F01,F02"], catch_exceptions=False).stdout
    assert "with the effects of Family" in shown
    assert "LSD 5 %" in shown
    facts = json.loads(run(app, ["predict", "canty_us", "--at", "Block", "--json"], catch_exceptions=False).stdout)
    assert facts["method"] == "normal"
    assert len(facts["differences"]) == 2 * 55
    bare = run(app, ["predict", "canty_us", "--at", "Block", "--terms", ""], catch_exceptions=True)
    assert isinstance(bare.exception, SpecError)


@pytest.mark.parametrize("word", ["=3", "Family="])
def test_predict__cells_that_say_nothing(word):
    with pytest.raises(SpecError, match="give a factor, --at Family, or values"):
        run(app, ["predict", "canty_us", "--at", word], catch_exceptions=False)


def test_reml__profile_intervals():
    words = ["reml", "canty_separate", "--table", "profile", "--level", "0.9"]
    table = pd.read_csv(pd.io.common.StringIO(run(app, words, catch_exceptions=False).stdout))
    fit = bmv.fit_reml(bmv.load_design("canty_separate"))
    row = table.iloc[0]
    mine = bmv.profile(fit, row["parameter"], row["trait_i"], term=row["term"], level=0.9)
    assert (row["low"], row["high"]) == pytest.approx((mine.low, mine.high), rel=1e-3)
    with pytest.raises(SpecError, match="no intervals 'wald'; there are: 'delta', 'profile'"):
        run(app, ["reml", "canty_us", "--intervals", "wald"], catch_exceptions=False)


def test_pairwise__is_written_and_taken_up(tmp_path):
    path, picture = tmp_path / "pairs.csv", tmp_path / "pairs.png"
    words = ["pairwise", "ril_us", "-o", str(path), "--plot", str(picture)]
    out = run(app, words, catch_exceptions=False)
    assert "3 pairs" in out.stdout
    assert picture.stat().st_size > 1000
    facts = json.loads(run(app, [*words[:4], "--json"], catch_exceptions=False).stdout)
    assert facts["term"] == "line"
    assert [row["records"] for row in facts["pairs"]] == [318, 318, 318]
    with pytest.raises(SpecError, match="no trait 'x'"):
        run(app, ["pairwise", "ril_us", "--traits", "height,x"], catch_exceptions=False)


def test_wald__both_ways():
    out = run(app, ["wald", "breeding_us", "--denominators", "containment", "--csv"], catch_exceptions=False).stdout
    table = pd.read_csv(pd.io.common.StringIO(out))
    assert set(table["term"]) == {"(mean)", "sex", "C(year)"}
    assert set(table["method"]) == {"containment"}


def test_effects__writes_all_and_prints_the_best(tmp_path):
    path = tmp_path / "ebv.csv"
    out = run(app, ["effects", "breeding_us", "-o", str(path)], catch_exceptions=False)
    assert "the best 10 of each trait" in out.stdout
    table = pd.read_csv(path)
    assert len(table) == 1200
    assert {"level", "trait", "blup", "std_error", "reliability", "accuracy", "rank"} == set(table.columns)
    trial = run(app, ["effects", "canty_us", "--table", "trial"], catch_exceptions=False).stdout
    assert "piepho" in trial
    with pytest.raises(SpecError, match="no random term"):
        run(app, ["effects", "canty_us", "--term", "Stand"], catch_exceptions=False)


def test_priors__before_a_fit(tmp_path):
    path = tmp_path / "prior.png"
    out = run(app, ["priors", "canty_us", "--draws", "200", "--plot", str(path)], catch_exceptions=False).stdout
    assert "Genetic parameters, prior" in out
    assert path.stat().st_size > 10_000


def test_compare__prior_sets_are_of_several_runs():
    with pytest.raises(SpecError, match="--prior-set prints a table of several runs"):
        run(app, ["compare", "canty_us", "--prior-set", "model,flat", "--plot", "a.png"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["-o", "report.pdf"], "its name must end in .html"),
        (["-o", "r.html", "--weights", "bden"], "give trait=number"),
    ],
)
def test_report__mistakes(tmp_path, monkeypatch, words, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=match):
        run(app, ["report", "canty_us", *words], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []

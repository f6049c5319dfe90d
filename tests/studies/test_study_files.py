"""Study files: what they say, and what is refused."""

import numpy as np
import pytest

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.studies.data import data_of, true_covariances

TEXT = """
name = "trial"
seed = 3
methods = ["delta", "profile"]
[models.us]
traits = ["a", "b"]
random = "us(trait):family + us(trait):block"
[models.us.genetic]
term = "family"
relationship = "half-sib"
phenotypic = ["family", "Residual"]
[[simulate]]
name = "half-sibs"
replicates = 3
factors = [{ family = 12, block = 2 }, { family = 6, block = 3 }]
units = 2
heritability = [0.2, 0.4]
genetic_correlation = 0.5
shares = { block = 0.1 }
"""


def spec(*changes, text=TEXT):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return bmv.StudySpec.from_toml(text)


def test_grid__is_every_combination_in_replicates():
    study = spec()
    assert len(study.cases) == 2 * 2 * 3
    assert len({case.key for case in study.cases}) == 12
    assert study.cases[0].setting == {"family": 12, "block": 2, "heritability": 0.2, "genetic_correlation": 0.5}
    assert study.parameters == ()


def test_truth__has_the_heritability_of_the_model():
    study = spec()
    case = study.cases[3]
    covariances = true_covariances(case.simulate, study.models["us"])
    assert sum(S[0, 0] for S in covariances.values()) == pytest.approx(1.0)
    found = bmv.estimates.genetic.parameters(
        covariances, ("a", "b"), study.models["us"].genetic, terms=("family", "Residual")
    )
    told = {(p.name, p.trait_i): float(p.draws) for p in found}
    assert told["heritability", "a"] == pytest.approx(case.simulate.heritability)
    assert told["genetic correlation", "a"] == pytest.approx(0.5)


def test_data__follow_from_seed_and_name_alone():
    one, other = spec(), spec(("replicates = 3", "replicates = 9"), ("[0.2, 0.4]", "[0.4, 0.2]"))
    case = one.cases[4]
    again = next(c for c in other.cases if c.key == case.key)
    first, second = (data_of(s, c, s.models["us"]).table for s, c in ((one, case), (other, again)))
    np.testing.assert_array_equal(first["a"], second["a"])
    assert len(first) == 12 * 2 * 2
    assert set(first["family"]) == {f"{i:02d}" for i in range(1, 13)}
    fresh = spec(("seed = 3", "seed = 4"))
    assert not np.array_equal(data_of(fresh, case, fresh.models["us"]).table["a"], first["a"])


def test_identity__is_of_all_but_the_number_of_replicates():
    assert spec().identity == spec(("replicates = 3", "replicates = 30")).identity
    for change in (
        ("seed = 3", "seed = 4"),
        ("0.2, 0.4", "0.2, 0.5"),
        ('"profile"', '"z"'),
        ("us(trait):block", "diag(trait):block"),
    ):
        assert spec(change).identity != spec().identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 3", "sead = 3"), "unknown entry 'sead' in 'study.toml'; allowed"),
        (("seed = 3", "seed = true"), "'seed' in 'study.toml' must be a int, not True"),
        (('"profile"', '"wald"'), "unknown method 'wald'; methods"),
        (("replicates = 3", "replicats = 3"), r"unknown entry 'replicats' in '\[\[simulate\]\]'"),
        (("family = 12", "family = 0"), "factors must be numbers of levels"),
        (("shares = { block = 0.1 }", "shares = { block = 1.1 }"), "leave -0.095 of the variance for the residual"),
        (("shares = { block = 0.1 }", ""), "no share is given for 'block'"),
        (("shares = { block = 0.1 }", "shares = { plot = 0.1 }"), "a share is given for 'plot'; other terms"),
        (("shares = {", "covariances = {}\nshares = {"), "give covariances, or .*, not both"),
        (("units = 2", 'units = 2\nlayout = "x.csv"'), "needs factors, .* or a layout file"),
        (("heritability = [0.2, 0.4]", 'heritability = ["low"]'), "must be numbers or lists of them"),
        (("units = 2", 'units = 2\nmodel = "diag"'), "no model 'diag' for"),
        (("[models.us]", "[posterior]\nmin_es = 3\n[models.us]"), r"unknown entry 'min_es' in \[posterior\]; allowed"),
        (("[models.us]", "[priors]\ndefault = 1\n[models.us]"), r"\[priors.default\] must hold priors by term"),
        (("seed = 3", "level = 2.0"), "the level must be between 0 and 1"),
        (("seed = 3", "bootstrap = 3"), "a bootstrap of 3 replicates has no tails"),
    ],
)
def test_what_is_wrong__is_named(change, message):
    def read():
        study = spec(change)
        return true_covariances(study.cases[0].simulate, study.models["us"])

    with pytest.raises(SpecError, match=message):
        read()


def test_files_and_shipped_models__are_found(tmp_path):
    (tmp_path / "mine.toml").write_text('data = "dataset:canty"\ntraits = ["bden"]\nrandom = "Family"\n')
    path = tmp_path / "study.toml"
    path.write_text('[models]\nmine = "mine.toml"\nus = "canty_us"\n[[data]]\nname = "canty"\n')
    study = bmv.StudySpec.from_file(path)
    assert study.models["mine"].traits == ("bden",)
    assert len(data_of(study, study.cases[0], study.models["us"]).table) > 100
    with pytest.raises(SpecError, match=r"no study file|there is no|cannot read"):
        bmv.StudySpec.from_file(tmp_path / "none.toml")

"""Order and labels change no result: rows, ids, pedigree, traits, and the order of a kernel.

Every fit ends within 5e-6 standard errors of the maximum; results are compared at 2e-5 of theirs, l at 1e-7.
"""

import numpy as np
import pandas as pd
import pytest
from published import folder, pedigree, relationships, table

import bayesmv as bmv

pytestmark = pytest.mark.published("gryphon")

BIVARIATE = bmv.ModelSpec.from_formula("bwt + tarsus ~ C(sex)", random="us(trait):vm(animal, A) + us(trait):byear")
UNIVARIATE = bmv.ModelSpec.from_formula("bwt ~ C(sex)", random="vm(animal, A)")


def shuffled(frame, seed):
    return frame.sample(frac=1.0, random_state=seed)


def renamed(ids):
    """New labels of ids: words in an order that has nothing to do with the numbers."""
    words = np.random.default_rng(11).permutation(len(ids))
    return dict(zip(ids, [f"bird {word:04d}" for word in words], strict=True))


def fit(spec, data, relationship):
    return bmv.fit_reml(bmv.build_design(spec, data, relationships={"A": relationship}))


def read_pedigree():
    return pd.read_csv(folder("gryphon") / "pedigree.csv").astype("Int64")


@pytest.fixture(scope="module")
def reference():
    return fit(BIVARIATE, table("gryphon"), relationships("gryphon")["A"])


def assert_same(ours, reference, names=None):
    """Equal l, components, fixed effects and BLUPs by label, each with its standard error."""
    assert ours.loglik == pytest.approx(reference.loglik, abs=1e-7)
    component = ["term", "trait_i", "trait_j"]
    assert_same_table(ours.varcomp, reference.varcomp, component, "component")
    assert_same_table(ours.fixed, reference.fixed, ["trait", "effect"], "estimate")
    for term in reference.design.terms:
        expected = reference.effects(term.name)
        if names is not None and term.name == "animal":
            expected = expected.assign(level=expected["level"].map(names))
        assert_same_table(ours.effects(term.name), expected, ["level", "trait"], "blup")


def assert_same_table(ours, expected, keys, value):
    ours, expected = ours.set_index(keys), expected.set_index(keys)
    assert set(ours.index) == set(expected.index)
    ours = ours.loc[expected.index]
    assert (np.abs(ours[value] - expected[value]) <= 2e-5 * expected["std_error"]).all()
    np.testing.assert_allclose(ours["std_error"], expected["std_error"], rtol=2e-5)


def test_fit_reml__rows_permuted(reference):
    assert_same(fit(BIVARIATE, shuffled(table("gryphon"), 1), relationships("gryphon")["A"]), reference)


def test_fit_reml__pedigree_permuted(reference):
    """Offspring before parents too: the package puts parents first."""
    animals = bmv.Pedigree.from_frame(shuffled(read_pedigree(), 2))
    assert_same(fit(BIVARIATE, table("gryphon"), bmv.Relationship.from_pedigree(animals)), reference)


def test_fit_reml__ids_relabelled(reference):
    """Rows, pedigree order and labels at once; year labels too."""
    frame = read_pedigree()
    names = renamed(frame["id"])
    relabelled = shuffled(frame.apply(lambda column: column.map(names)), 3)
    data = shuffled(table("gryphon"), 4)
    data = data.assign(animal=data["animal"].map(names))
    assert_same(fit(BIVARIATE, data, bmv.Relationship.from_pedigree(relabelled)), reference, names)


def test_fit_reml__traits_swapped(reference):
    """The order of traits changes only the order of rows, and which of a pair is named first."""
    spec = bmv.ModelSpec.from_formula("tarsus + bwt ~ C(sex)", random="us(trait):vm(animal, A) + us(trait):byear")
    swapped = fit(spec, table("gryphon"), relationships("gryphon")["A"])
    assert swapped.loglik == pytest.approx(reference.loglik, abs=1e-7)
    for name, sigma in reference.covariances.items():
        error = reference.varcomp.loc[reference.varcomp["term"] == name, "std_error"].max()
        np.testing.assert_allclose(swapped.covariances[name][::-1, ::-1], sigma, atol=2e-5 * error)
    assert_same_table(swapped.fixed, reference.fixed, ["trait", "effect"], "estimate")
    assert_same_table(swapped.effects("animal"), reference.effects("animal"), ["level", "trait"], "blup")


def test_fit_reml__precision_in_another_order(reference):
    """A⁻¹ given by label, in an order that is not the pedigree's."""
    animals = pedigree("gryphon")
    order = np.random.default_rng(5).permutation(len(animals))
    precision = animals.inverse().tocsr()[order][:, order]
    kernel = bmv.Relationship.from_precision(precision, np.asarray(animals.ids)[order])
    assert_same(fit(BIVARIATE, table("gryphon"), kernel), reference)


def test_fit_reml__dense_covariance_in_another_order():
    """A as a labelled table in another order, of the animals with records only, with data in a third order."""
    data = table("gryphon").dropna(subset="bwt")
    animals = np.random.default_rng(6).permutation(data["animal"])
    kernel = bmv.Relationship.from_covariance(pedigree("gryphon").relationship(animals))
    expected = fit(UNIVARIATE, data, relationships("gryphon")["A"])
    ours = fit(UNIVARIATE, shuffled(data, 7), kernel)
    assert ours.loglik == pytest.approx(expected.loglik, abs=1e-7)
    assert_same_table(ours.varcomp, expected.varcomp, ["term", "trait_i", "trait_j"], "component")
    blups = expected.effects("animal")
    blups = blups[blups["level"].isin(animals)]
    assert_same_table(ours.effects("animal"), blups, ["level", "trait"], "blup")


def test_fit_reml__covariance_rows_and_columns_in_different_orders():
    """A labelled table whose rows and columns are ordered differently is aligned by label."""
    data = table("gryphon").dropna(subset="bwt").head(300)
    A = pedigree("gryphon").relationship(data["animal"])
    mixed = A.sample(frac=1.0, random_state=8).sample(frac=1.0, random_state=9, axis=1)
    expected, ours = (fit(UNIVARIATE, data, bmv.Relationship.from_covariance(K)) for K in (A, mixed))
    assert_same(ours, expected)

"""Genetic parameters against their formulas, for single matrices and for draws."""

import numpy as np
import pytest
from oracles import random_psd
from traces import make_design

import bayesmv as bmv
from bayesmv.errors import SpecError
from bayesmv.estimates.genetic import evolvability, family_mean_heritability, heritability, parameters, phenotypic
from bayesmv.model.genetic import ADDITIVE_FACTOR, Genetic

TRAITS = ("a", "b", "c")


def matrices(*shape, names=("block", "family", "Residual"), seed=1):
    rng = np.random.default_rng(seed)
    draws = {name: np.empty((*shape, 3, 3)) for name in names}
    for values in draws.values():
        for index in np.ndindex(*shape):
            values[index] = random_psd(3, rng)
    return draws


def by_name(found):
    """{parameter: {(trait_i, trait_j): draws}}."""
    out = {}
    for p in found:
        out.setdefault(p.name, {})[p.trait_i, p.trait_j] = p.draws
    return out


def test_phenotypic__sum_of_all_or_of_those_named():
    S = matrices(2, 5)
    np.testing.assert_allclose(phenotypic(S), S["block"] + S["family"] + S["Residual"])
    np.testing.assert_allclose(phenotypic(S, ["family", "Residual"]), S["family"] + S["Residual"])


def test_phenotypic__raises_on_a_stranger():
    with pytest.raises(SpecError, match="no covariance matrix of 'famly'; terms: 'block', 'family', 'Residual'"):
        phenotypic(matrices(), ["famly", "Residual"])


def test_heritability__by_hand():
    A, P = np.array([[4.0, 1.0], [1.0, 9.0]]), np.array([[16.0, 3.0], [3.0, 12.0]])
    assert heritability(A, P).tolist() == [0.25, 0.75]
    assert heritability(np.stack([A, P]), np.stack([P, P])).tolist() == [[0.25, 0.75], [1.0, 1.0]]


def test_family_mean_heritability__by_hand():
    F, R = np.diag([2.0, 3.0]), np.diag([8.0, 9.0])
    np.testing.assert_allclose(family_mean_heritability(F, R, np.array([4.0, 3.0])), [2 / (2 + 2), 3 / (3 + 3)])


def test_evolvability__by_hand():
    np.testing.assert_allclose(evolvability(np.diag([4.0, 9.0]), np.array([10.0, -3.0])), [0.04, 1.0])


@pytest.mark.parametrize(
    ("relationship", "factor"),
    [("animal", 1.0), ("half-sib", 4.0), ("sire", 4.0), ("dam", 4.0), ("full-sib", 2.0), ("line", 1.0)],
)
def test_parameters__heritability_of_each_relationship(relationship, factor):
    S = matrices(2, 5)
    found = by_name(parameters(S, TRAITS, Genetic(term="family", relationship=relationship)))
    V_P = sum(S.values())
    variance = "genotypic variance" if relationship == "line" else "additive genetic variance"
    for i, trait in enumerate(TRAITS):
        np.testing.assert_allclose(found[variance][trait, trait], factor * S["family"][..., i, i])
        np.testing.assert_allclose(found["phenotypic variance"][trait, trait], V_P[..., i, i])
        np.testing.assert_allclose(
            found["heritability"][trait, trait], factor * S["family"][..., i, i] / V_P[..., i, i]
        )


def test_parameters__every_relationship_is_tested():
    assert set(ADDITIVE_FACTOR) == {
        "animal",
        "half-sib",
        "sire",
        "dam",
        "parents",
        "full-sib",
        "line",
        "family-mean",
    }


def test_parameters__family_means():
    S = matrices(4)
    found = by_name(
        parameters(S, TRAITS, Genetic(term="family", relationship="family-mean"), records=np.array([2.0, 5.0, 10.0]))
    )
    for i, (trait, n) in enumerate(zip(TRAITS, (2.0, 5.0, 10.0), strict=True)):
        between, within = S["family"][:, i, i], S["Residual"][:, i, i]
        np.testing.assert_allclose(found["heritability"][trait, trait], between / (between + within / n))
        np.testing.assert_allclose(found["family variance"][trait, trait], between)


def test_parameters__family_means_need_the_number_of_records():
    with pytest.raises(SpecError, match="heritability of family means needs the number of records per family"):
        parameters(matrices(), TRAITS, Genetic(term="family", relationship="family-mean"))


def test_parameters__phenotypic_variance_of_some_terms():
    S = matrices()
    found = by_name(parameters(S, TRAITS, Genetic(term="family"), terms=["family", "Residual"]))
    expected = S["family"][1, 1] / (S["family"][1, 1] + S["Residual"][1, 1])
    assert found["heritability"]["b", "b"] == pytest.approx(expected, rel=1e-12)


def test_parameters__repeatability():
    S = matrices(3, names=("animal", "pe", "herd", "Residual"))
    found = by_name(parameters(S, TRAITS, Genetic(term="animal"), same_subject=["pe"]))
    for i, trait in enumerate(TRAITS):
        expected = (S["animal"] + S["pe"])[:, i, i] / sum(S.values())[:, i, i]
        np.testing.assert_allclose(found["repeatability"][trait, trait], expected)
    assert "repeatability" not in by_name(parameters(S, TRAITS, Genetic(term="animal")))


def test_parameters__roles_of_several_terms():
    S = matrices(3, names=("id.A", "id.D", "id.AA", "dam", "pe", "litter", "Residual"))
    genetic = Genetic(term="id.A", dominance="id.D", epistasis=("id.AA",), maternal="dam", environment=("pe", "litter"))
    found = by_name(parameters(S, TRAITS, genetic))
    V_P = sum(S.values())
    for i, trait in enumerate(TRAITS):
        V = {name: matrix[:, i, i] for name, matrix in S.items()}
        expected = {
            "heritability": V["id.A"],
            "dominance ratio": V["id.D"],
            "epistatic ratio": V["id.AA"],
            "broad-sense heritability": V["id.A"] + V["id.D"] + V["id.AA"],
            "maternal ratio": V["dam"],
            "environmental ratio (pe)": V["pe"],
            "environmental ratio (litter)": V["litter"],
        }
        for name, variance in expected.items():
            np.testing.assert_allclose(found[name][trait, trait], variance / V_P[:, i, i], rtol=1e-12)
        np.testing.assert_allclose(found["dominance variance"][trait, trait], V["id.D"], rtol=1e-12)


def test_parameters__combining_abilities():
    S = matrices(names=("sire+dam", "sire:dam", "Residual"))
    genetic = Genetic(term="sire+dam", dominance=("sire:dam",), relationship="parents")
    found = by_name(parameters(S, TRAITS, genetic))
    for i, trait in enumerate(TRAITS):
        np.testing.assert_allclose(found["additive genetic variance"][trait, trait], 4 * S["sire+dam"][i, i])
        np.testing.assert_allclose(found["dominance variance"][trait, trait], 4 * S["sire:dam"][i, i])


def test_genetic__raises_on_roles():
    with pytest.raises(SpecError, match=r"epistasis cannot be told beside levels whose .* 'parents'; it can with 'ani"):
        Genetic(term="g", epistasis=("e",), relationship="parents")
    with pytest.raises(SpecError, match=r"dominance cannot be told beside levels whose relationship is 'full-sib'"):
        Genetic(term="g", dominance=("d",), relationship="full-sib")
    with pytest.raises(SpecError, match=r"'pe' has two roles in \[genetic\]; give each term one"):
        Genetic(term="pe", environment=("pe",))
    with pytest.raises(SpecError, match=r"the dominance term 'id\.D' is not in the model; terms: 'block', 'family'"):
        parameters(matrices(), TRAITS, Genetic(term="family", dominance=("id.D",)))


def test_parameters__correlations():
    S = matrices(2, 5)
    found = by_name(parameters(S, TRAITS, Genetic(term="family", relationship="half-sib")))
    V_P = sum(S.values())
    for kind, matrix in (("genetic", S["family"]), ("residual", S["Residual"]), ("phenotypic", V_P)):
        pairs = found[f"{kind} correlation"]
        assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
        for (first, second), draws in pairs.items():
            i, j = TRAITS.index(first), TRAITS.index(second)
            expected = matrix[..., i, j] / np.sqrt(matrix[..., i, i] * matrix[..., j, j])
            np.testing.assert_allclose(draws, expected, rtol=1e-12)


def test_parameters__order_is_the_same_for_estimates_and_draws():
    genetic = Genetic(term="family")
    names = [[p[:3] for p in parameters(matrices(*shape), TRAITS, genetic)] for shape in ((), (2, 3))]
    assert names[0] == names[1]
    assert [n for n, *_ in names[0]][::3] == [
        "additive genetic variance",
        "phenotypic variance",
        "heritability",
        "genetic correlation",
        "residual correlation",
        "phenotypic correlation",
    ]


def test_parameters__raises_on_an_unknown_genetic_term():
    with pytest.raises(SpecError, match="the genetic term 'animal' is not in the model; terms: 'block', 'family'"):
        parameters(matrices(), TRAITS, Genetic(term="animal"))


def test_parameters__trait_without_genetic_variance_has_no_correlation():
    S = matrices()
    S["family"][1] = S["family"][:, 1] = 0.0
    found = by_name(parameters(S, TRAITS, Genetic(term="family")))
    assert found["heritability"]["b", "b"] == 0.0
    assert np.isnan(found["genetic correlation"]["a", "b"])
    assert np.isfinite(found["genetic correlation"]["a", "c"])


def test_genetic_parameters__the_residual_is_no_genetic_term():
    fit = bmv.fit_reml(make_design())
    with pytest.raises(SpecError, match="'Residual' is not a genetic term; random terms: 'block', 'family'"):
        bmv.genetic_parameters(fit, "Residual")

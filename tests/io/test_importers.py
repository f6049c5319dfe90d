"""Answers of other programs, each from a small example of its form, matched to one design."""

import numpy as np
import pandas as pd
import pytest

import bayesmv as bmv
from bayesmv.errors import DataError, SpecError
from bayesmv.io.importers.programs import PROGRAMS

A = np.array([[3.4, 2.5], [2.5, 12.3]])
R = np.array([[3.9, 3.3], [3.3, 17.6]])
SE = np.array([[0.63, 1.07], [1.07, 3.07]])

VARCOMP = f""""","component","std.error","z.ratio","bound","%ch"
"trait:vm(animal, ainv)!trait_bwt:bwt",{A[0, 0]},{SE[0, 0]},5.3,"P",0
"trait:vm(animal, ainv)!trait_tarsus:bwt",{A[0, 1]},{SE[0, 1]},2.3,"P",0
"trait:vm(animal, ainv)!trait_tarsus:tarsus",{A[1, 1]},{SE[1, 1]},4,"P",0
"units:trait!R",1,NA,NA,"F",0
"units:trait!trait_bwt:bwt",{R[0, 0]},0.5,7.4,"P",0
"units:trait!trait_tarsus:bwt",{R[0, 1]},0.9,3.6,"P",0
"units:trait!trait_tarsus:tarsus",{R[1, 1]},2.6,6.7,"P",0
"""
ASR = f"""
   6 LogL=-1234.50     S2=  1.0000      1700 df
   7 LogL=-1234.43     S2=  1.0000      1700 df

          - - - Results from analysis of bwt tarsus - - -
 Model_Term                             Gamma         Sigma   Sigma/SE   % C
 units.us(Trait)                   120 effects
 Trait                   US_V  1  1    {R[0, 0]}       {R[0, 0]}       7.40   0 P
 Trait                   US_C  2  1    {R[0, 1]}       {R[0, 1]}       3.63   0 P
 Trait                   US_V  2  2    {R[1, 1]}       {R[1, 1]}       6.65   0 P
 us(Trait).nrm(animal)             120 effects
 Trait                   US_V  1  1    {A[0, 0]}       {A[0, 0]}       5.40   0 P
 Trait                   US_C  2  1    {A[0, 1]}       {A[0, 1]}       2.34   0 P
 Trait                   US_V  2  2    {A[1, 1]}       {A[1, 1]}       4.01   0 P
"""
BLUPF90 = f"""
 -2logL =   2468.86     : AIC =   2480.86
 In round            8 convergence = 3.47D-015
Final Estimates
 Genetic variance(s) for effect  3
  {A[0, 0]}       {A[0, 1]}
  {A[1, 0]}       {A[1, 1]}
   correlations
   1.0000       0.3866
   0.3866       1.0000
 Residual variance(s)
  0.39D+01       {R[0, 1]}
  {R[1, 0]}       {R[1, 1]}
 inverse of AI matrix (Sampling Variance)
  0.4  0.1
  0.1  0.2
 SE for G
  {SE[0, 0]}       {SE[0, 1]}
  {SE[1, 0]}       {SE[1, 1]}
 SE for R
  0.5       0.9
  0.9       2.6
"""
WOMBAT = f"""
 ***** Estimates for residual covariances *****
   1  COVS E  1  1    {R[0, 0]}    0.5
   2  COVS E  1  2    {R[0, 1]}    0.9
   3  COVS E  2  2    {R[1, 1]}    2.6
 ***** Estimates for RE  1 "animal" *****
   1  COVS A  1  1    {A[0, 0]}    {SE[0, 0]}
   2  COVS A  1  2    {A[0, 1]}    {SE[0, 1]}
   3  COVS A  2  2    {A[1, 1]}    {SE[1, 1]}
"""
SOMMER = f""""","VarComp","VarCompSE","Zratio","Constraint"
"u:animal.bwt-bwt",{A[0, 0]},{SE[0, 0]},5.4,"Positive"
"u:animal.bwt-tarsus",{A[0, 1]},{SE[0, 1]},2.3,"Unconstr"
"u:animal.tarsus-tarsus",{A[1, 1]},{SE[1, 1]},4.0,"Positive"
"units.bwt-bwt",{R[0, 0]},0.5,7.4,"Positive"
"units.bwt-tarsus",{R[0, 1]},0.9,3.6,"Unconstr"
"units.tarsus-tarsus",{R[1, 1]},2.6,6.7,"Positive"
"""


def design():
    rng = np.random.default_rng(1)
    animals = [f"a{i}" for i in range(60)]
    data = pd.DataFrame({"animal": animals, "bwt": rng.normal(size=60) * 2, "tarsus": rng.normal(size=60) * 5})
    pedigree = pd.DataFrame(
        {"id": animals, "sire": [None] * 20 + animals[:5] * 8, "dam": [None] * 20 + animals[10:20] * 4}
    )
    spec = bmv.ModelSpec.from_formula(
        "bwt + tarsus ~ 1", random="us(trait):vm(animal, A)", genetic=bmv.Genetic(term="animal")
    )
    return bmv.build_design(spec, data, {"A": bmv.Relationship.from_pedigree(pedigree)})


def one_trait():
    data = pd.DataFrame({"f": list("aabbccdd"), "y": np.arange(8.0) ** 2})
    return bmv.build_design(bmv.ModelSpec.from_formula("y ~ 1", random="f"), data)


def written(tmp_path, text):
    path = tmp_path / "answer.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("program", "text", "terms"),
    [
        ("asreml", VARCOMP, None),
        ("asreml", ASR, None),
        ("blupf90", BLUPF90, {"animal": "effect 3"}),
        ("blupf90", BLUPF90, None),
        ("wombat", WOMBAT, None),
        ("sommer", SOMMER, None),
    ],
    ids=["asreml-r", "asr", "blupf90", "blupf90-by-elimination", "wombat", "sommer"],
)
def test_estimates__are_those_of_the_file(tmp_path, program, text, terms):
    d = design()
    found = bmv.read_estimates(written(tmp_path, text), program, d, terms=terms)
    np.testing.assert_allclose(found.covariances()["animal"], A)
    np.testing.assert_allclose(found.covariances()["Residual"], R)
    table = bmv.variance_components(found).set_index(["term", "trait_i", "trait_j"])
    assert table.loc[("animal", "bwt", "tarsus"), "component"].item() == pytest.approx(2.5)
    assert table.loc[("animal", "bwt", "tarsus"), "std_error"].item() == pytest.approx(SE[0, 1], rel=0.01)
    genetic = bmv.genetic_parameters(found).set_index(["parameter", "trait_i"])["estimate"]
    assert genetic["heritability", "bwt"] == pytest.approx(3.4 / 7.3)
    assert found.origin.program == PROGRAMS[program].label
    assert found.fit.loglik == pytest.approx(bmv.blup(d, {"animal": A, "Residual": R}).loglik)


def test_likelihood__has_its_constant_put_back(tmp_path):
    d = design()
    for program, text, value in (("asreml", ASR, -1234.43), ("blupf90", BLUPF90, -1234.43)):
        found = bmv.read_estimates(written(tmp_path, text), program, d)
        assert found.origin.loglik == pytest.approx(value - 0.5 * 118 * np.log(2 * np.pi))
        assert "leaves (N - p)/2 log 2π out" in found.origin.notes[0]


def draws(n=50, seed=0):
    rng = np.random.default_rng(seed)
    scale = 1 + 0.05 * rng.random((n, 1, 1))
    return A * scale, R * scale


def mcmcglmm():
    G, E = draws()
    table = {}
    for term, S in (("animal", G), ("units", E)):
        for i, a in enumerate(("bwt", "tarsus")):
            for j, b in enumerate(("bwt", "tarsus")):
                table[f"trait{a}:trait{b}.{term}"] = S[:, i, j]
    return pd.DataFrame(table).to_csv()


def brms():
    G, E = draws()
    sd = np.sqrt(np.stack([np.diagonal(G, axis1=1, axis2=2), np.diagonal(E, axis1=1, axis2=2)]))
    table = {
        "b_bwt_Intercept": np.zeros(50),
        "sd_animal__bwt_Intercept": sd[0, :, 0],
        "sd_animal__tarsus_Intercept": sd[0, :, 1],
        "cor_animal__bwt_Intercept__tarsus_Intercept": G[:, 0, 1] / sd[0].prod(axis=1),
        "sigma_bwt": sd[1, :, 0],
        "sigma_tarsus": sd[1, :, 1],
        "rescor__bwt__tarsus": E[:, 0, 1] / sd[1].prod(axis=1),
        ".chain": np.repeat([1, 2], 25),
        ".iteration": np.tile(np.arange(25), 2),
    }
    return pd.DataFrame(table).to_csv(index=False)


@pytest.mark.parametrize(("program", "text", "chains"), [("mcmcglmm", mcmcglmm(), 1), ("brms", brms(), 2)])
def test_draws__are_a_posterior(tmp_path, program, text, chains):
    d = design()
    found = bmv.read_estimates(written(tmp_path, text), program, d)
    G = draws()[0]
    values = found.covariances()["animal"]
    assert values.shape == (chains, 50 // chains, 2, 2)
    np.testing.assert_allclose(values.reshape(50, 2, 2), G)
    table = bmv.genetic_parameters(found)
    row = table[(table["parameter"] == "genetic correlation")].iloc[0]
    assert row["median"] == pytest.approx(2.5 / np.sqrt(3.4 * 12.3))
    beside = bmv.compare_programs({"theirs": found, "given": bmv.blup(d, {"animal": A, "Residual": R})})
    row = beside[(beside["term"] == "animal") & (beside["parameter"] == "variance")].iloc[0]
    assert row["theirs"] == pytest.approx(np.median(G[:, 0, 0]))
    assert row["given"] == pytest.approx(3.4)


def test_lme4_and_jwas__of_one_trait(tmp_path):
    d = one_trait()
    text = "grp,var1,var2,vcov,sdcor\nf,(Intercept),NA,12.5,3.5355\nResidual,NA,NA,4,2\n"
    found = bmv.read_estimates(written(tmp_path, text), "lme4", d)
    assert {n: S.item() for n, S in found.covariances().items()} == {"f": 12.5, "Residual": 4.0}
    text = "f,units\n1.5,2\n2.5,3\n"
    assert bmv.read_estimates(written(tmp_path, text), "mcmcglmm", d).covariances()["f"].reshape(-1).tolist() == [
        1.5,
        2.5,
    ]


def test_lme4__of_several_traits(tmp_path):
    text = (
        '"","grp","var1","var2","vcov","sdcor"\n"1","animal","traitbwt",NA,3.4,1.8\n"2","animal","traittarsus",NA,12.3,3\n'
        '"3","animal","traitbwt","traittarsus",2.5,0.4\n"4","Residual","traitbwt",NA,3.9,2\n'
        '"5","Residual","traittarsus",NA,17.6,4\n"6","Residual","traitbwt","traittarsus",3.3,0.4\n'
    )
    found = bmv.read_estimates(written(tmp_path, text), "lme4", design())
    np.testing.assert_allclose(found.covariances()["animal"], A)


@pytest.mark.parametrize(
    ("program", "text", "message"),
    [
        ("asreml", VARCOMP.replace("trait_tarsus:bwt", "trait_leg:bwt"), "'leg' of ASReml is not a trait of the model"),
        ("asreml", VARCOMP.replace("component", "gamma"), "has no column 'component'; it has"),
        ("asreml", VARCOMP.replace("12.3", "1e999"), "'1e999' in .* is not a finite number"),
        ("asreml", VARCOMP.replace(",5.3,", ","), "line 2 has 5 cells, not 6"),
        ("asreml", "nothing", "is not a table with columns"),
        ("asreml", VARCOMP.replace("2.5,1.07", "25,1.07"), "positive semi-definite"),
        (
            "asreml",
            VARCOMP.split("\n", 2)[0] + "\n" + VARCOMP.split("\n", 2)[2],
            "gives no variance of 'bwt' for animal",
        ),
        ("blupf90", "Genetic variance(s) for effect 3\n 1 2\n", "has not 2 rows of 2 numbers"),
        ("blupf90", "nothing", "holds no 'Genetic variance"),
        ("wombat", "nothing", "holds no lines with COVS"),
        ("sommer", SOMMER.replace("u:animal.bwt-bwt", "bwt"), "'bwt' does not name a component of sommer"),
        ("brms", "a,b\n1,2\n", "no column of the draws is one of brms"),
        (
            "mcmcglmm",
            mcmcglmm().replace("animal", "sire").replace("units", "rest"),
            "cannot be matched: 'sire', 'rest'",
        ),
        ("brms", brms().replace("2,24\n", "1,24\n"), "chains have 26, 24 draws"),
    ],
)
def test_what_is_not_of_the_program__is_named(tmp_path, program, text, message):
    with pytest.raises((DataError, SpecError), match=message):
        bmv.read_estimates(written(tmp_path, text), program, design())


def test_unknown_program_and_file__are_named(tmp_path):
    with pytest.raises(SpecError, match="no importer for 'sas'; there are"):
        bmv.read_estimates(tmp_path / "x", "sas", design())
    with pytest.raises(DataError, match=r"there is no|no file|cannot"):
        bmv.read_estimates(tmp_path / "x", "asreml", design())


def test_comparison__is_of_one_model():
    d = design()
    fit = bmv.blup(d, {"animal": A, "Residual": R})
    with pytest.raises(SpecError, match="at least two sources"):
        bmv.compare_programs({"one": fit})
    with pytest.raises(SpecError):
        bmv.compare_programs({"one": fit, "other": bmv.fit_reml(one_trait())})

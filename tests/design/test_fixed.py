"""Columns of fixed effects: as formulaic makes them, for factors of every type; restricted effects; what is refused."""

import numpy as np
import pandas as pd
import pytest
from formulaic import Formula

import bayesmv as bmv
from bayesmv.design.columns import Columns
from bayesmv.errors import DataError, SpecError
from bayesmv.model.terms import FixedTerm

N = 60


def frame(seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(size=N),
            "b": rng.normal(size=N),
            "sex": rng.choice(["F", "M"], N),
            "site": rng.choice(list("pqr"), N),
            "year": rng.integers(2018, 2022, N),
            "x": rng.normal(10, 1, N),
            "w": rng.normal(5, 1, N),
            "birth.year": rng.integers(0, 5, N),
            "my x": rng.normal(size=N),
            "fam": np.repeat([f"F{i}" for i in range(12)], 5),
        }
    )


def design(formula, data=None, traits="a + b", random="us(trait):fam"):
    spec = bmv.ModelSpec.from_formula(f"{traits} ~ {formula}", random=random)
    return bmv.build_design(spec, frame() if data is None else data)


def columns(formula, data):
    blocks = [block for _, block in Columns(data, []).blocks(FixedTerm(formula=formula).expanded.values())]
    names = [name for block in blocks for name in block.names]
    return names, np.hstack([block.columns.toarray() for block in blocks])


@pytest.mark.parametrize(
    "formula",
    [
        *("sex:site", "1 + sex*site", "sex/site", "site/x", "0 + sex:x", "x:sex", "x:sex:site", "sex + sex:x"),
        *("(sex + site + x)**2", "sex*site*x - sex:site:x", "0 + sex + site", "0 + site:sex", "sex:site + sex"),
        *("poly(x, 3)", "poly(x, degree=2)", "bs(x, df=5)", "bs(x, knots=[9.5, 10.5], degree=2)", "poly(x, 2):sex"),
        *("I(x**2)", "I(x*w + 1)", "I((x + 1)*2/w)", "I(-x)", "log(x + 1)", "center(x)", "scale(x)", "exp(-x/10)"),
        *("C(year)", "C(year)*x", "0 + C(year):site", "`my x`", "log(abs(`my x`))", "x + 0 + 1", "w:x + x"),
        *("sex:site - 1 + x", "sex*site*C(year)", "0 + sex*site + site:C(year)"),
    ],
)
def test_columns__as_formulaic_makes_them(formula):
    data = frame()
    expected = Formula(formula).get_model_matrix(data, output="pandas", context={"abs": np.abs})
    expected = expected.loc[:, (expected != 0).any()]  # combinations without records are left out
    names, X = columns(formula, data)
    assert names == list(expected.columns)
    np.testing.assert_allclose(X, expected.to_numpy(dtype=float), atol=1e-9)


@pytest.mark.parametrize(
    ("formula", "names", "rank"),
    [
        ("cr(x, df=4)", ["cr(x, df=4)[2]", "cr(x, df=4)[3]", "cr(x, df=4)[4]"], 4),
        ("ns(x, df=3)", ["ns(x, df=3)[1]", "ns(x, df=3)[2]", "ns(x, df=3)[3]"], 4),
        ("spl(x, 4)", ["spl(x, 4)[2]", "spl(x, 4)[3]", "spl(x, 4)[4]"], 4),
        ("leg(x, 2, 0, 20)", ["leg(x, 2, 0, 20)[1]", "leg(x, 2, 0, 20)[2]"], 3),
        ("sqrt(x) + log1p(x)", ["sqrt(x)", "log1p(x)"], 3),
    ],
)
def test_columns__functions_beside_a_mean(formula, names, rank):
    made, X = columns(formula, frame())
    assert made == ["Intercept", *names]
    assert np.linalg.matrix_rank(X) == rank


TYPES = {
    "object": lambda s: s.astype(object),
    "string": lambda s: s.astype("string"),
    "string[pyarrow]": lambda s: s.astype("string[pyarrow]"),
    "arrow": lambda s: s.convert_dtypes(dtype_backend="pyarrow"),
    "category": lambda s: s.astype("category"),
    "unused": lambda s: pd.Series(pd.Categorical(s, categories=["A", "F", "M", "Z"]), index=s.index),
    "category of strings": lambda s: s.astype("string").astype("category"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_factors__text_of_every_type(kind):
    pytest.importorskip("pyarrow")
    data = frame()
    plain, other = design("sex*x", data), design("sex*x", data.assign(sex=TYPES[kind](data["sex"])))
    assert other.fixed.variables == plain.fixed.variables
    np.testing.assert_array_equal(other.fixed.X.toarray(), plain.fixed.X.toarray())
    unused = ("2 levels of 'sex' without records were left out: 'A', 'Z'",)
    assert other.notes == (unused if kind == "unused" else ())


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object"])
def test_factors__truth_values(dtype):
    data = frame().assign(flag=lambda d: pd.Series(d["sex"] == "M").astype(dtype))
    assert design("flag", data).fixed.variables == ("Intercept", "flag[T.True]")


@pytest.mark.parametrize("dtype", ["Int64", "float32", "object", "int64[pyarrow]", "double[pyarrow]"])
def test_covariates__numbers_of_every_type(dtype):
    pytest.importorskip("pyarrow")
    data = frame()
    np.testing.assert_array_equal(
        design("year", data.assign(year=data["year"].astype(dtype))).fixed.X.toarray(), design("year").fixed.X.toarray()
    )


def test_factors__levels_in_order():
    data = frame().assign(
        k=np.tile(["10", "9", "2"], 20), s=np.tile(["f10", "f9", "f2"], 20), y=np.tile([3.0, 20, 1], 20)
    )
    variables = design("k + s + C(y)", data).fixed.variables
    assert variables[1:] == ("k[T.9]", "k[T.10]", "s[T.f2]", "s[T.f9]", "C(y)[T.3]", "C(y)[T.20]")[:2] + variables[3:]
    assert variables[5:] == ("C(y)[T.3]", "C(y)[T.20]")
    assert variables[3:5] == ("s[T.f2]", "s[T.f9]")


def test_references__first_levels():
    built = design("sex + at(trait, a):C(year) + at(trait, b):site")
    assert built.fixed.references == (("sex", "F"), ("C(year)", "2018"), ("site", "p"))
    fit = bmv.fit_reml(built)
    assert fit.record.references == built.fixed.references


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("at(trait, a):x - 1", {"a": "x", "b": ""}),
        ("-1 + at(trait, a):x", {"a": "x", "b": ""}),
        ("sex + at(trait, a):x - sex", {"a": "Intercept x", "b": "Intercept"}),
        ("at(trait, a):x - x", {"a": "Intercept", "b": "Intercept"}),
        ("1 + at(trait, a):sex - 1", {"a": "sex[F] sex[M]", "b": ""}),
        ("at(trait, a):sex", {"a": "Intercept sex[T.M]", "b": "Intercept"}),
        ("0 + at(trait, a):sex + at(trait, b):1", {"a": "sex[F] sex[M]", "b": "Intercept"}),
        ("x + at(trait, a):x:sex", {"a": "Intercept x x:sex[T.M]", "b": "Intercept x"}),
        ("at(trait, a):(x + sex)", {"a": "Intercept x sex[T.M]", "b": "Intercept"}),
        ("at(trait, a):1 + at(trait, b):1 + at(trait, b):x", {"a": "Intercept", "b": "Intercept x"}),
    ],
)
def test_restricted__as_written(formula, expected):
    built = design(formula)
    got = {trait: [v for t, v in built.fixed.coefficients(built.traits) if t == trait] for trait in built.traits}
    assert {trait: " ".join(names) for trait, names in got.items()} == expected


@pytest.mark.parametrize("name", ["birth.year", "`birth.year`"])
def test_names__dotted_and_quoted(name):
    assert design(name).fixed.variables == ("Intercept", "birth.year")
    assert design(f"C({name})").fixed.variables[1] == "C(birth.year)[T.1]"
    assert design("`my x` + log(abs(`my x`))").fixed.variables == ("Intercept", "my x", "log(abs(`my x`))")


@pytest.mark.parametrize(
    ("formula", "data", "message"),
    [
        ("when", {"when": pd.date_range("2020-01-01", periods=N)}, "'when' holds dates; turn it into a number"),
        ("log(sex)", {}, "the column 'sex' is not numeric; arithmetic in a formula needs numbers"),
        ("log(x - 10)", {}, r"the fixed effect 'log\(x - 10\)' in '.*' has values that are not finite"),
        ("I(1/(x - x))", {}, "has values that are not finite"),
        ("exp(I(x*1000))", {}, "has values that are not finite"),
        ("poly(year, 4)", {}, r"'poly\(year, 4\)' cannot be computed: 4 different values cannot carry degree 4"),
        ("leg(x, 2, 9, 10)", {}, "is outside 9 to 10"),
        ("bs(one, df=4)", {"one": 3.0}, r"the covariate of 'bs\(one, df=4\)' is 3 in all records"),
        ("x + I(2*x - 7)", {}, r"the fixed effect 'I\(2 \* x - 7\)' is a linear combination of the others"),
    ],
)
def test_columns__raises(formula, data, message):
    with pytest.raises(DataError, match=message):
        design(formula, frame().assign(**data))


def test_columns__raises_on_two_of_one_name():
    with pytest.raises(SpecError, match=r"two fixed effects would be called 'sex\[T.M\]'; rename a column"):
        design("sex + `sex[T.M]`", frame().assign(**{"sex[T.M]": np.arange(N) % 7}))


def test_notes__combinations_without_records():
    data = frame().assign(site=lambda d: np.where(d["sex"] == "F", "p", d["site"]))
    built = design("sex*site", data, traits="a", random="fam")
    assert "2 combinations of 'sex:site' without records were left out" not in built.notes
    assert built.fixed.present.sum() == len({*zip(data["sex"], data["site"], strict=True)})


def test_many_levels__numbers_grow_with_the_records():
    """The design of a factor holds one number for every record, and one for its mean: linear, never levels × levels."""
    sizes = []
    for levels in (400, 800):
        rng = np.random.default_rng(0)
        hys = rng.integers(0, levels, 10 * levels)
        data = pd.DataFrame(
            {"y": rng.normal(size=len(hys)), "hys": [f"h{i}" for i in hys], "sire": rng.integers(0, 20, len(hys))}
        )
        built = design("hys", data, traits="y", random="sire")
        assert built.fixed.present.sum() == levels
        sizes.append(
            (built.fixed.X.nnz / len(hys), built.fixed.working.nnz / len(hys), built.fixed.mixing.nnz / levels)
        )
        expected = data["y"] - data.groupby("hys")["y"].transform("mean")
        np.testing.assert_allclose(data["y"] - built.fixed.fitted[:, 0], expected, atol=1e-9)
    np.testing.assert_allclose(sizes, [[2.0, 2.0, 1.0]] * 2, rtol=0.01)


# ---------------------------------------------------------------- covariates far from zero


def far(offset, seed=3):
    rng = np.random.default_rng(seed)
    data = frame(seed).assign(day=np.round(rng.normal(0, 15, N)), north=np.round(rng.normal(0, 30, N), 1))
    data["a"] += 0.05 * data["day"] + np.repeat(rng.normal(size=12), 5)
    data["b"] += np.repeat(rng.normal(size=12), 5)
    data.loc[::7, "b"] = np.nan
    return data.assign(day=data["day"] + offset, north=data["north"] + 2 * offset)


@pytest.mark.parametrize("engine", ["strata", "spectral", "sparse"])
@pytest.mark.parametrize(
    "formula",
    [
        "day",
        "day + north",
        "0 + sex + day",
        "sex*day",
        "day + I(day**2)",
        "0 + C(year) + north",
        "sex + sex:day",
        "C(year):day",
    ],
)
def test_far_from_zero__the_likelihood_of_the_centred_covariate(engine, formula):
    offset = 2459000.0
    near, there = (design(formula, far(o), traits="a", random="fam") for o in (0.0, offset))
    try:
        expected = bmv.fit_reml(near, engine=engine)
    except SpecError:
        pytest.skip("not an engine of this design")
    fit = bmv.fit_reml(there, engine=engine)
    if formula == "C(year):day":  # without years of their own, slopes are those through day 0
        assert np.isfinite(fit.loglik)
        return
    assert fit.loglik == pytest.approx(expected.loglik, abs=1e-4)
    slope = fit.fixed.set_index("effect")
    name = slope.index[-1]
    assert slope["std_error"][name] == pytest.approx(expected.fixed.set_index("effect")["std_error"][name], rel=1e-4)


def test_far_from_zero__restricted_and_with_missing_records():
    near, there = (design("sex + at(trait, a):day + at(trait, b):north", far(o)) for o in (0.0, 2459000.0))
    expected, fit = bmv.fit_reml(near), bmv.fit_reml(there)
    assert fit.loglik == pytest.approx(expected.loglik, abs=1e-6)
    both = [
        f.fixed.set_index(["trait", "effect"]).loc[[("a", "day"), ("b", "north"), ("a", "sex[T.M]")]]
        for f in (fit, expected)
    ]
    np.testing.assert_allclose(*(t[["estimate", "std_error"]] for t in both), rtol=1e-5)
    # The mean is that of day 0, far outside the data, as the user wrote it.
    intercept = fit.fixed.set_index(["trait", "effect"])["estimate"]["a", "Intercept"]
    slope = both[0].loc[("a", "day"), "estimate"]
    centred = expected.fixed.set_index(["trait", "effect"])["estimate"]["a", "Intercept"]
    assert intercept + 2459000.0 * slope == pytest.approx(centred, abs=1e-5)


def test_far_from_zero__random_regressions():
    near, there = (design("1", far(o), traits="a", random="us(1 + day):fam") for o in (0.0, 2459000.0))
    assert there.notes[0].startswith("fam: 'day' is far from zero (2.459e+06 ± ")
    assert near.notes == ()
    assert bmv.fit_reml(there).loglik == pytest.approx(bmv.fit_reml(near).loglik, abs=1e-5)
    explicit = design("1", far(2459000.0), traits="a", random="us(1 + center(day)):fam")
    assert explicit.terms[0].effects == there.terms[0].effects == ("Intercept", "center(day)")
    with pytest.raises(
        DataError, match=r"'day' of 'diag\(trait:1 \+ day\):fam' is far from zero .* write center\(day\)"
    ):
        design("1", far(2459000.0), traits="a", random="diag(1 + day):fam")


# ---------------------------------------------------------------- traits that are combinations of others


def proportional(kind):
    rng = np.random.default_rng(1)
    data = frame().assign(kg=50 + np.repeat(rng.normal(size=12) * 2, 5) + rng.normal(size=N) * 3, w=rng.normal(size=N))
    made = {
        "lb": data["kg"] * 2.20462,
        "lb to 3 decimals": np.round(data["kg"] * 2.20462, 3),
        "rest": 100 - data["kg"],
        "total": data["kg"] + data["w"],
        "within sexes": 2 * data["kg"] + (data["sex"] == "M"),
    }[kind]
    data["made"] = made
    data.loc[[3, 17], "made"] = np.nan
    data.loc[[5], "kg"] = np.nan
    return data


@pytest.mark.parametrize("kind", ["lb", "lb to 3 decimals", "rest", "total", "within sexes"])
@pytest.mark.parametrize("order", ["kg + w + a + made", "made + a + w + kg"])
def test_proportional_traits__with_missing_records(kind, order):
    data = proportional(kind)
    data.loc[data.index % 3 == 0, "a"] = np.nan
    with pytest.raises(
        DataError, match=r"the trait '(made|kg|w)' is a linear combination of '.* after fixed effects; take"
    ):
        design("sex", data, traits=order)


def test_proportional_traits__correlated_ones_are_not_refused():
    data = proportional("lb").assign(made=lambda d: np.round(d["made"], 0))
    assert design("sex", data, traits="kg + w + made").traits == ("kg", "w", "made")

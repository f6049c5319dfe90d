"""Dense, naive incidences of terms with several members or covariates, from the DataFrame alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from oracles import Case, Dense, random_kin

from bayesmv.model.spec import ModelSpec


def legendre(x):
    """Normalised polynomials 0, 1, 2 at x from -1 to 1, by hand."""
    return [np.sqrt(0.5), np.sqrt(1.5) * x, np.sqrt(2.5) * 0.5 * (3 * x**2 - 1)]


def own(column):
    """Weights of the individual that a column names; none where it is missing."""
    return lambda row, data: {} if pd.isna(data[column][row]) else {data[column][row]: 1.0}


def mates(row, data, dilution=0.0):
    """Weights of the other animals of the pen."""
    others = {a for a, pen in zip(data["animal"], data["pen"], strict=True) if pen == data["pen"][row]}
    others -= {data["animal"][row]}
    return {other: len(others) ** -dilution for other in others}


def one(row, data):
    return [1.0]


def by_age(row, data):
    low, high = data["age"].min(), data["age"].max()
    return legendre(2.0 * (data["age"][row] - low) / (high - low) - 1.0)


def raw(row, data):
    return [1.0, data["age"][row]]


def by_site(row, data):
    return [float(data["site"][row] == site) for site in sorted(set(data["site"]))]


def combined(*columns):
    """Weight of the combination of the values of some columns."""
    return lambda row, data: {":".join(str(data[column][row]) for column in columns): 1.0}


def each(*columns):
    """Weights of all individuals that some columns name."""

    def weights(row, data):
        named = [data[column][row] for column in columns if not pd.isna(data[column][row])]
        return {level: float(named.count(level)) for level in named}

    return weights


def pair(row, data):
    """Weight of an animal and its dam together, whichever comes first; none where the dam is unknown."""
    both = [data["animal"][row], data["dam"][row]]
    return {} if pd.isna(both[1]) else {":".join(sorted(both)): 1.0}


def b_spline(x, i, degree, knots):
    """B-spline i by the recursion of Cox and de Boor."""
    if degree == 0:
        return float(knots[i] <= x < knots[i + 1])
    left = (x - knots[i]) / (knots[i + degree] - knots[i]) * b_spline(x, i, degree - 1, knots)
    right = knots[i + degree + 1] - x
    return left + right / (knots[i + degree + 1] - knots[i + 1]) * b_spline(x, i + 1, degree - 1, knots)


def smooth(row, data, k=8):
    """Penalised functions of age: B-splines times the pseudoinverse of second differences, of variance 1 on average."""
    knots = -1.0 + 2.0 / (k - 3) * np.arange(-3, k + 1)
    pseudo = np.linalg.pinv(np.diff(np.eye(k), n=2, axis=0))

    def functions(x):
        return np.array([b_spline(min(x, 1.0 - 1e-12), i, 3, knots) for i in range(k)]) @ pseudo

    low, high = data["age"].min(), data["age"].max()
    size = np.mean([np.sum(functions(x) ** 2) for x in np.linspace(-1.0, 1.0, 401)])
    return functions(2.0 * (data["age"][row] - low) / (high - low) - 1.0) / np.sqrt(size)


def coefficients(row, data):
    return dict(enumerate(smooth(row, data)))


def own_coefficients(row, data):
    return {(j, data["animal"][row]): value for j, value in enumerate(smooth(row, data))}


def north(row, data):
    return [float(data["site"][row] == "north")]


def in_north(member):
    """Weights of a member on the records of one site."""
    return lambda row, data: member(row, data) if data["site"][row] == "north" else {}


def product_kin(kin):
    """Animals × sites."""
    (ids, A), (sites, W) = kin["A"], kin["W"]
    return [f"{i}:{s}" for i in ids for s in sites], np.kron(A, W)


def curves_kin(kin):
    """Coefficients of a trend × animals."""
    ids, A = kin["A"]
    return [(j, i) for j in range(6) for i in ids], np.kron(np.eye(6), A)


#: Random part, and of each term: members, functions of covariates.
MODELS = {
    "maternal": (
        "us(trait):str(vm(animal, A), dam) + us(trait):ide(dam)",
        [([own("animal"), own("dam")], one), ([own("dam")], one)],
    ),
    "unrelated": ("us(trait):str(animal, dam)", [([own("animal"), own("dam")], one)]),
    "mates": ("us(trait):str(vm(animal, A), mates(pen))", [([own("animal"), mates], one)]),
    "diluted": (
        "us(trait):str(vm(animal, A), mates(pen, 0.5))",
        [([own("animal"), lambda row, data: mates(row, data, 0.5)], one)],
    ),
    "legendre": (
        "us(trait:1 + leg(age, 2)):vm(animal, A) + diag(trait:leg(age, 2)):ide(animal)",
        [([own("animal")], by_age), ([own("animal")], by_age)],
    ),
    "raw": ("us(trait:1 + age):vm(animal, A)", [([own("animal")], raw)]),
    "sites": ("us(trait:site):vm(animal, A)", [([own("animal")], by_site)]),
    "product": ("us(trait):pen:site", [([combined("pen", "site")], one)]),
    "nested": ("us(trait):site/pen", [([own("site")], one), ([combined("site", "pen")], one)]),
    "related product": (
        "us(trait):vm(animal, A):vm(site, W)",
        [([combined("animal", "site")], one, product_kin)],
    ),
    "overlay": (
        "us(trait):vm(overlay(animal, dam), A) + us(trait):pair(animal, dam)",
        [([each("animal", "dam")], one), ([pair], one)],
    ),
    "at": (
        "at(site, north):us(trait):vm(animal, A) + at(site, north):us(trait):pen",
        [([own("animal")], north), ([in_north(own("pen"))], one)],
    ),
    "trend": (
        "us(trait):ps(age, 8) + us(trait):ps(age, 8):vm(animal, A)",
        [([coefficients], one), ([own_coefficients], one, curves_kin)],
    ),
    "everything": (
        "diag(trait:1 + age):str(vm(animal, A), dam, mates(pen))",
        [([own("animal"), own("dam"), mates], raw)],
    ),
}


@dataclass(frozen=True, kw_only=True)
class StructuredCase(Case):
    """A case whose terms are those of `MODELS[model]`."""

    model: str

    @property
    def sizes(self):
        t = len(self.spec.traits)
        parts = MODELS[self.model][1]
        return [len(members) * t * len(functions(0, self.data)) for members, functions, *_ in parts] + [t]


class StructuredDense(Dense):
    """Dense likelihood with naive incidences: effects are numbered member by member, trait by trait, function last."""

    def _term(self, k):
        members, functions, *kin = MODELS[self.case.model][1][k]
        data, t = self.case.data, len(self.case.spec.traits)
        relationship = self.case.spec.random[k].factors[0].relationship
        if kin:
            levels, K = kin[0](self.case.kin)
        elif relationship in self.case.kin:
            levels, K = self.case.kin[relationship]
        else:
            levels = sorted({level for member in members for row in data.index for level in member(row, data)})
            K = np.eye(len(levels))
        size = len(functions(0, data))
        Z = np.zeros((len(self.y), len(levels), len(members), t, size))
        for r, (u, trait) in enumerate(zip(self.unit, self.trait, strict=True)):
            for g, member in enumerate(members):
                for level, weight in member(u, data).items():
                    Z[r, list(levels).index(level), g, trait] = weight * np.array(functions(u, data))
        return list(levels), K, Z.reshape(len(self.y), -1)


def structured_case(model: str, t: int = 1, seed: int = 1, n: int = 24) -> StructuredCase:
    """Records of 12 animals of a pedigree in pens; some dams are unknown, some traits missing."""
    rng = np.random.default_rng(seed)
    ids = [f"a{i:02d}" for i in range(16)]
    animal = np.array(ids[4:])[np.arange(n) % 12]
    dam = rng.choice(ids[:6], n).astype(object)
    dam[rng.choice(n, 3, replace=False)] = None
    data = pd.DataFrame(
        {
            "animal": animal,
            "dam": dam,
            "pen": rng.permutation(np.arange(n) % 5),
            "age": rng.uniform(20.0, 90.0, n).round(1),
            "site": rng.permutation(np.array(["south", "north"])[np.arange(n) % 2]),
        }
    )
    Y = (rng.normal(size=(n, t)) + 10.0) * 10.0 ** np.arange(t)
    Y[3:6, t - 1] = np.nan if t > 1 else Y[3:6, 0]
    data = pd.concat([pd.DataFrame(Y, columns=[f"y{i + 1}" for i in range(t)]), data], axis=1)
    spec = ModelSpec.from_formula(f"{' + '.join(data.columns[:t])} ~ 1", random=MODELS[model][0])
    columns = {(trait, "Intercept"): np.ones(n) for trait in spec.traits}
    return StructuredCase(
        spec=spec,
        data=data,
        columns=columns,
        kin={"A": (ids, random_kin(len(ids), rng)), "W": (["north", "south"], np.array([[1.0, 0.3], [0.3, 1.2]]))},
        model=model,
    )

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
        return [len(members) * t * len(functions(0, self.data)) for members, functions in parts] + [t]


class StructuredDense(Dense):
    """Dense likelihood with naive incidences: effects are numbered member by member, trait by trait, function last."""

    def _term(self, k):
        members, functions = MODELS[self.case.model][1][k]
        data, t = self.case.data, len(self.case.spec.traits)
        relationship = self.case.spec.random[k].relationship
        if relationship in self.case.kin:
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
        spec=spec, data=data, columns=columns, kin={"A": (ids, random_kin(len(ids), rng))}, model=model
    )

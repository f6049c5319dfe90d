"""Dense, naive versions of what the package computes, from the formulas and the DataFrame alone, and random cases."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
import scipy.linalg
from scipy import sparse

from bayesmv.design.design import Design, build_design
from bayesmv.model.spec import ModelSpec
from bayesmv.relationship.relationship import Relationship


def pedigree_relationship(pedigree) -> Relationship:
    """Relationship of a Pedigree: the one place to change when the package offers a constructor."""
    return Relationship(
        ids=pd.Index(pedigree.ids),
        precision=pedigree.inverse(),
        log_determinant=pedigree.log_determinant,
        diagonal=1.0 + pedigree.inbreeding,
    )


def dense_relationship(ids, K: np.ndarray) -> Relationship:
    """Relationship of a dense K (q, q)."""
    inverse = np.linalg.inv(K)
    inverse = np.where(np.abs(inverse) > 1e-12, 0.5 * (inverse + inverse.T), 0.0)  # symmetric, also in its zeros
    return Relationship(
        ids=pd.Index(ids),
        precision=sparse.csc_array(inverse),
        log_determinant=float(np.linalg.slogdet(K)[1]),
        diagonal=np.diag(K).copy(),
    )


def random_psd(m: int, rng: np.random.Generator, rank: int | None = None) -> np.ndarray:
    """Covariance matrix (m, m) with variances about 1; eigenvalues above 0.1 unless the rank is given."""
    B = rng.normal(size=(m, rank or m))
    return B @ B.T / m + (0.1 * np.eye(m) if rank is None else 0.0)


def packed(m: int) -> list[tuple[int, int]]:
    """Lower triangle by rows."""
    return [(i, j) for i in range(m) for j in range(i + 1)]


def finite_difference(f, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Derivative of f (any shape) by x, fourth-order central: error ~ step⁴ f⁽⁵⁾/30 and 1.5 eps |f| / step."""
    out = []
    for k in range(len(x)):
        e = np.zeros(len(x))
        e[k] = step
        near = np.asarray(f(x + e)) - np.asarray(f(x - e))
        far = np.asarray(f(x + 2 * e)) - np.asarray(f(x - 2 * e))
        out.append((8.0 * near - far) / (12.0 * step))
    return np.array(out)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with data, its fixed-effect columns written by hand, and its relationships as dense K.

    columns: (trait, variable) → values (n,), in the units of the data; kin: relationship name → (ids, K).
    """

    spec: ModelSpec
    data: pd.DataFrame
    columns: dict[tuple[str, str], np.ndarray]
    kin: dict[str, tuple[list[str], np.ndarray]] = field(default_factory=dict)

    @cached_property
    def relationships(self) -> dict[str, Relationship]:
        return {name: dense_relationship(ids, K) for name, (ids, K) in self.kin.items()}

    @cached_property
    def memory(self) -> dict:
        """What oracles of this case work out once, as it does not depend on the covariances."""
        return {}

    @cached_property
    def design(self) -> Design:
        return build_design(self.spec, self.data, self.relationships)

    @property
    def sizes(self) -> list[int]:
        """Size of every covariance matrix, the residual last."""
        t = len(self.spec.traits)
        return [len(term.traits or self.spec.traits) for term in self.spec.random] + [t]

    def scales(self) -> list[np.ndarray]:
        """Unit of every covariance matrix, (m,)."""
        return [self.design.effect_scale(name) for name in self.design.names]

    def scaled(self, covariances: list[np.ndarray]) -> list[np.ndarray]:
        """Covariances of the scaled traits."""
        return [S / np.outer(s, s) for S, s in zip(covariances, self.scales(), strict=True)]

    def random_covariances(self, rng: np.random.Generator, rank: int | None = None) -> list[np.ndarray]:
        """Covariances in the units of the data, near the phenotypic variances; `rank` is that of the random terms."""
        sigmas = [random_psd(m, rng, min(rank, m) if rank else None) for m in self.sizes[:-1]]
        sigmas.append(random_psd(self.sizes[-1], rng) + 0.2 * np.eye(self.sizes[-1]))
        return [S * np.outer(s, s) for S, s in zip(sigmas, self.scales(), strict=True)]


class Dense:
    """Everything about a case at given covariances (units of the data), by V itself.

    Effects are stacked level by level: u_k ~ N(0, K_k ⊗ Σ_k), so that nothing of the package's stacking is shared.
    """

    def __init__(self, case: Case, covariances: list[np.ndarray]) -> None:
        self.case, self.covariances = case, covariances
        self.unit, self.trait, self.y, self.labels, self.X, parts = self._once("incidences", self._incidences)
        self.levels = [p[0] for p in parts]
        self.K = [p[1] for p in parts]
        self.Z = [p[2] for p in parts]
        self.G = [np.kron(K, S) for K, S in zip(self.K, covariances[:-1], strict=True)]
        self.same_unit = self.unit[:, None] == self.unit[None, :]
        self.V = self._residual(covariances[-1])
        for Z, G in zip(self.Z, self.G, strict=True):
            self.V = self.V + Z @ G @ Z.T
        self.Vi = np.linalg.inv(self.V)
        self.XVX = self.X.T @ self.Vi @ self.X
        self.XVXi = np.linalg.inv(self.XVX)
        self.P = self.Vi - self.Vi @ self.X @ self.XVXi @ self.X.T @ self.Vi
        self.Py = self.P @ self.y

    def _once(self, what, make):
        """What `make` gives, from the memory of the case."""
        memory, key = self.case.memory, (type(self), what)
        if key not in memory:
            memory[key] = make()
        return memory[key]

    def _incidences(self) -> tuple:
        """Unit and trait of every record, y, names of the fixed effects, X, and levels, K and Z of every term."""
        case = self.case
        traits = list(case.spec.traits)
        Y = case.data[traits].to_numpy(float)
        records = [(u, t) for t in range(len(traits)) for u in range(len(Y)) if not np.isnan(Y[u, t])]
        self.unit, self.trait = (np.array(x) for x in zip(*records, strict=True))
        self.y = Y[self.unit, self.trait]
        self.labels = list(case.columns)
        self.X = np.column_stack(
            [np.where(self.trait == traits.index(t), case.columns[t, v][self.unit], 0.0) for t, v in self.labels]
            or [np.zeros((len(self.y), 0))]
        )
        parts = [self._term(k) for k in range(len(case.spec.random))]
        return self.unit, self.trait, self.y, self.labels, self.X, parts

    def _term(self, k: int) -> tuple[list, np.ndarray, np.ndarray]:
        term = self.case.spec.random[k]
        factor = term.factors[0]
        name = factor.relationship or factor.column
        column = list(self.case.data[factor.column])
        if name in self.case.kin:
            levels, K = self.case.kin[name]
        else:
            kept = sorted({column[u] for u in self.unit})
            levels, K = kept, np.eye(len(kept))
        effects = [self.case.spec.traits.index(t) for t in term.traits or self.case.spec.traits]
        Z = np.zeros((len(self.y), len(levels) * len(effects)))
        for r, (u, t) in enumerate(zip(self.unit, self.trait, strict=True)):
            if t in effects:
                Z[r, list(levels).index(column[u]) * len(effects) + effects.index(t)] = 1.0
        return list(levels), K, Z

    def _residual(self, R: np.ndarray) -> np.ndarray:
        return R[np.ix_(self.trait, self.trait)] * self.same_unit

    @cached_property
    def loglik(self) -> float:
        n_free = len(self.y) - self.X.shape[1]
        log_V, log_X = np.linalg.slogdet(self.V)[1], np.linalg.slogdet(self.XVX)[1]
        return float(-0.5 * (n_free * np.log(2 * np.pi) + log_V + log_X + self.y @ self.Py))

    @cached_property
    def derivatives(self) -> list[list[np.ndarray]]:
        """dV/dσ_ij of every packed component of every matrix."""
        return self._once("derivatives", self._derivatives)

    def _derivatives(self) -> list[list[np.ndarray]]:
        out = []
        for k, S in enumerate(self.covariances):
            mine = []
            for i, j in packed(len(S)):
                E = np.zeros_like(S)
                E[i, j] = E[j, i] = 1.0
                last = k == len(self.Z)
                mine.append(self._residual(E) if last else self.Z[k] @ np.kron(self.K[k], E) @ self.Z[k].T)
            out.append(mine)
        return out

    @cached_property
    def gradient(self) -> list[np.ndarray]:
        """Symmetric dl/dΣ_k with dl = Σ tr(G_k dΣ_k)."""
        out = []
        for S, mine in zip(self.covariances, self.derivatives, strict=True):
            G = np.zeros_like(S)
            for (i, j), D in zip(packed(len(S)), mine, strict=True):
                slope = -0.5 * (np.sum(self.P * D) - self.Py @ D @ self.Py)
                G[i, j] = G[j, i] = slope if i == j else slope / 2.0
            out.append(G)
        return out

    @cached_property
    def average_information(self) -> np.ndarray:
        F = np.column_stack([D @ self.Py for mine in self.derivatives for D in mine])
        return 0.5 * F.T @ self.P @ F

    @cached_property
    def blue(self) -> np.ndarray:
        return self.XVXi @ self.X.T @ self.Vi @ self.y

    def blup(self, k: int) -> np.ndarray:
        """û (q, m)."""
        return (self.G[k] @ self.Z[k].T @ self.Py).reshape(len(self.levels[k]), -1)

    def pev(self, k: int) -> np.ndarray:
        """var(û - u) of every level, (q, m, m)."""
        ZG = self.Z[k] @ self.G[k]
        full = self.G[k] - ZG.T @ self.P @ ZG
        m = len(self.covariances[k])
        return np.array([full[a * m : a * m + m, a * m : a * m + m] for a in range(len(self.levels[k]))])

    @cached_property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of (b, u_1, …, u_K) given y and a flat prior on b."""
        Z, G = np.hstack(self.Z), scipy.linalg.block_diag(*self.G)
        ZG = Z @ G
        cross = -self.XVXi @ self.X.T @ self.Vi @ ZG
        cov = np.block([[self.XVXi, cross], [cross.T, G - ZG.T @ self.P @ ZG]])
        return np.concatenate([self.blue, ZG.T @ self.Py]), cov


RANDOM = {
    1: ("idv(trait):block", "us(trait):vm(animal, A)", "us(trait):vm(animal, A) + diag(trait):block", ""),
    2: (
        "us(trait):vm(animal, A)",
        "us(trait):block + diag(trait):herd",
        "us(trait):vm(animal, A) + at(trait, y2):block",
        "us(trait):vm(animal, A) + us(trait):pe + idv(trait):herd",
    ),
    3: (
        "us(trait):vm(animal, A)",
        "us(trait):vm(animal, A) + at(trait, y3, y1):us(trait):block",
        "us(trait):block + at(trait, y2):herd + at(trait, y1, y3):diag(trait):vm(animal, A)",
    ),
}


def all_patterns(t: int) -> list[tuple[bool, ...]]:
    """Every pattern of recorded traits but the empty one."""
    return [p for p in product([True, False], repeat=t) if any(p)]


def random_kin(q: int, rng: np.random.Generator) -> np.ndarray:
    """K of a random pedigree of q animals, by the tabular method, with selfing and inbreeding."""
    A = np.zeros((q, q))
    for i in range(q):
        s, d = rng.integers(-1, i, 2) if i else (-1, -1)
        for parent in (s, d):
            if parent >= 0:
                A[i, :i] += 0.5 * A[parent, :i]
        A[:i, i] = A[i, :i]
        A[i, i] = 1.0 + (0.5 * A[s, d] if s >= 0 and d >= 0 else 0.0)
    return A


def random_case(
    seed: int,
    t: int,
    random: str,
    *,
    patterns: list[tuple[bool, ...]] | None = None,
    n: int = 24,
    residual: str = "us(trait):units",
) -> Case:
    """Return a random case: repeated records of animals, animals without records, traits of different units.

    Units take the missing patterns in turn.
    """
    rng = np.random.default_rng(seed)
    traits = [f"y{i + 1}" for i in range(t)]
    ids = [f"a{i}" for i in range(10)]
    # Blocks and herds are dealt out so that none is empty, animals are drawn.
    data = pd.DataFrame(
        {
            "animal": rng.choice(ids[2:], n),
            "block": rng.permutation(np.arange(n) % 4),
            "herd": rng.permutation(np.array(["h2", "h10", "h1"])[np.arange(n) % 3]),
            "x": rng.normal(5.0, 30.0, n),
            "sex": rng.permutation(np.array(["f", "m"])[np.arange(n) % 2]),
        }
    )
    data["pe"] = data["animal"]  # permanent environment: the same levels without relationship
    units = 10.0 ** rng.uniform(-2, 3, t)
    Y = rng.normal(size=(n, t)) + rng.normal(size=4)[data["block"]][:, None] + 0.02 * data["x"].to_numpy()[:, None]
    seen = np.array([patterns[i % len(patterns)] for i in range(n)]) if patterns else np.ones((n, t), bool)
    Y = np.where(seen, (Y + 10.0) * units, np.nan)
    data = pd.concat([pd.DataFrame(Y, columns=traits), data], axis=1)
    spec = ModelSpec.from_formula(
        f"{' + '.join(traits)} ~ sex + at(trait, {traits[0]}):x", random=random, residual=residual
    )
    columns = {(trait, "Intercept"): np.ones(n) for trait in traits}
    columns |= {(trait, "sex[T.m]"): (data["sex"] == "m").to_numpy(float) for trait in traits}
    columns[traits[0], "x"] = data["x"].to_numpy()
    return Case(spec=spec, data=data, columns=columns, kin={"A": (ids, random_kin(10, rng))})


def simple_case(traits: list[str], random: str, data: pd.DataFrame, residual: str = "us(trait):units") -> Case:
    """Return a case with a mean for each trait and no relationships."""
    spec = ModelSpec.from_formula(f"{' + '.join(traits)} ~ 1", random=random, residual=residual)
    return Case(spec=spec, data=data, columns={(t, "Intercept"): np.ones(len(data)) for t in traits})

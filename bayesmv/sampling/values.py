r"""Posterior draws from values of the log density alone: weighted points of adapted mixtures.

Where an evaluation is dear, a few thousand values do what NUTS takes tens of thousands of gradients for. Points are
drawn from mixtures of multivariate t in coordinates y in which the posterior is nearly standard normal,

.. math:: x = m + C t(y), \quad t_i = a_i y_i + b_i (\sqrt{1 + y_i^2} - 1)

with m the mode, CC' the inverse curvature there, and slopes a - b and a + b to both sides from a scan of every
half-axis. All points are weighted by all proposals together,

.. math:: \log w = \log p(x) - \log \sum_c \frac{n_c}{n} \sum_σ q_c(y(σ x))\, |dy/dx|

where σ runs over the mirror images of scales in whose sign the density is symmetric: points are folded onto one of
them. The mixture is fitted to the weighted points over rounds; each batch is four independent scrambles of a Sobol
sequence, which are the *chains* of the result.

The run is **declined** where it would be wrong: weights with a heavy tail (Pareto k), one that is great, scrambles that
disagree, or *bare* mass, which the proposals do not cover: short random walks on p²/q, where the weights have their
variance, look for it. Bare places are given a proposal of their own, three times at most.

Source: Owen & Zhou (2000), J. Am. Stat. Assoc. 95:135-143 (mixtures); Cornuet, Marin, Mira & Robert (2012), Scand. J.
Stat. 39:798-812 (all proposals together); Zhang & Stephens (2009), Technometrics 51:316-325 (Pareto k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaincinv, gammaln, logsumexp, ndtri

from bayesmv.arrays import Array, IntArray
from bayesmv.numerics.progress import waiting
from bayesmv.numerics.symmetric import packed_rows
from bayesmv.posterior.coordinates import PlanarCoordinates
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.sampling.chains import Chains

#: Independent scrambles of every batch.
REPLICATES = 4
#: Points of the first batch, FIRST d + EXTRA, and of the rounds, ROUND d but LEAST; and the most values.
FIRST, EXTRA, ROUND, LEAST, LIMIT = 32, 128, 64, 512, 20_000
#: Degrees of freedom of the two components; how much wider the second is, and its share of the points.
_NU, _WIDE_NU, _WIDE, _WIDE_SHARE = 8.0, 3.0, 1.5, 0.15
#: What passes: Pareto k, greatest share of a weight, least effective size of a scramble relative to the best,
#: standardised difference of halves, and repairs.
_K, _SHARE, _EVEN, _Z, _REPAIRS = 0.6, 0.01, 0.5, 4.5, 3
#: Weight over its mean from which a place is bare; bare mass that passes, and that is beyond repair.
_BARE, _BARE_PASSES, _HOPELESS = 20.0, 0.005, 0.1
#: Values that a thread computes before it is said how many there are, and how it is said.
_AT_ONCE, _SAID = 32, "Weighted points: {:,} values"
#: Fall of the log density at which a half-axis is measured, and most values of one.
_DROP, _SCANS = 8.0, 4


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Weighted points of a posterior.

    Parameters
    ----------
    x
        Points (n, d).
    log_weight
        Logarithms of their weights (n,).
    replicate
        Scramble of each, (n,).
    values
        Values of the log density that were computed, of the scan and the walks too.
    ess
        Effective number of points, (Σw)² / Σw².
    k
        Pareto k of the largest weights.
    bare
        Posterior mass that the proposals do not cover.
    objections
        Why the points are not good enough; none if they are.
    order
        Direction in which the points are sorted to be resampled, (d,).
    """

    x: Array
    log_weight: Array
    replicate: IntArray
    values: int
    ess: float
    k: float
    bare: float
    objections: tuple[str, ...]
    order: Array

    def resampled(self, seed: int) -> Chains:
        """As many draws as are effective, a chain from each scramble, by systematic resampling, in random order."""
        rng, n = np.random.default_rng([seed, 7]), max(1, int(self.ess) // REPLICATES)
        chains = []
        for r in range(REPLICATES):
            mine = np.flatnonzero(self.replicate == r)
            mine = mine[np.argsort(self.x[mine] @ self.order)]
            w = np.exp(self.log_weight[mine] - logsumexp(self.log_weight[mine]))
            at = np.searchsorted(np.cumsum(w), (np.arange(n) + rng.random()) / n).clip(0, len(mine) - 1)
            chains.append(rng.permutation(self.x[mine[at]]))
        return Chains(x=chains, stats=[{"diverging": np.zeros(n, dtype=bool)} for _ in chains])


def weighted_points(
    posterior: LogPosterior,
    mode: Array,
    hessian: Array,
    *,
    want: float,
    seed: int,
    workers: int = 1,
    progress: bool | None = None,
) -> Weighted:
    """Draw weighted points of a posterior until enough of them are effective, or it is declined.

    Parameters
    ----------
    posterior
        In planar coordinates.
    mode, hessian
        Mode of its density of x (d,), and the negative Hessian there, or its average information.
    want
        Effective points to draw.
    seed
        Of the scrambles and the walks. The points do not depend on the number of workers.
    workers
        Values that are computed at the same time.
    progress
        Show how many values were computed; by default on a terminal only.
    """
    folded = folded_coordinates(posterior)
    mode = mode.copy()
    flip = np.where(np.isin(np.arange(len(mode)), folded) & (mode < 0.0), -1.0, 1.0)
    frame = _Frame(mode * flip, hessian * np.outer(flip, flip), folded)
    with waiting(_SAID.format(0), progress) as say, _evaluator(posterior, workers, say) as log_density:
        return _Search(frame, log_density, want, seed).run(lambda x: _quantities(posterior, x))


def folded_coordinates(posterior: LogPosterior) -> IntArray:
    """Coordinates in whose sign the density is symmetric: scales of rows without other parameters."""
    coordinates = posterior.coordinates
    assert isinstance(coordinates, PlanarCoordinates)
    return np.array([d for d, off in coordinates.rows if not len(off)], dtype=np.int64)


@contextmanager
def _evaluator(posterior: LogPosterior, workers: int, say: Callable[[str], None]) -> Iterator[Callable[[Array], Array]]:
    """Function that gives the log densities of points (n, d), by several threads with an engine each."""
    count = 0
    posteriors = [replace(posterior, engine=posterior.engine.fork()) for _ in range(workers)]

    def part(job: tuple[LogPosterior, Array]) -> list[float]:
        mine, x = job
        return [mine.value(row) for row in x]

    with ThreadPoolExecutor(workers) as pool:

        def values(x: Array) -> Array:
            nonlocal count
            out: list[float] = []
            while len(out) < len(x):
                pieces = np.array_split(x[len(out) : len(out) + _AT_ONCE * workers], workers)
                for found in pool.map(part, zip(posteriors, pieces, strict=True)):
                    out += found
                say(_SAID.format(count + len(out)))
            count += len(x)
            return np.array(out)

        yield values


def _quantities(posterior: LogPosterior, x: Array) -> Array:
    """All variances and covariances at points, (n, c)."""
    theta = posterior.coordinates.constrain(x)
    out = []
    for structure, at in zip(posterior.blocks.structures, posterior.blocks.slices, strict=True):
        rows, columns = packed_rows(structure.size)
        out.append(np.array([structure.matrix(row)[rows, columns] for row in theta[:, at]]))
    return np.concatenate(out, axis=1)


class _Student(NamedTuple):
    """Multivariate t in the coordinates y."""

    mean: Array
    root: Array
    nu: float

    def draw(self, n: int, seed: int) -> Array:
        """Points (n, d) of a scrambled Sobol sequence."""
        from scipy.stats import qmc  # slow to import, and of this method only

        d = len(self.mean)
        sequence = qmc.Sobol(d + 1, seed=seed).random_base2(max(1, int(np.ceil(np.log2(n)))))[:n]
        u = np.clip(sequence, 1e-12, 1.0 - 1e-12)
        chi_square = 2.0 * gammaincinv(0.5 * self.nu, u[:, d])
        return np.asarray(self.mean + (ndtri(u[:, :d]) / np.sqrt(chi_square / self.nu)[:, None]) @ self.root.T)

    def log_density(self, y: Array) -> Array:
        """Log density at points (n, d)."""
        d, nu = len(self.mean), self.nu
        r = np.linalg.solve(self.root, (y - self.mean).T)
        constant = gammaln(0.5 * (nu + d)) - gammaln(0.5 * nu) - 0.5 * d * np.log(nu * np.pi)
        constant -= np.linalg.slogdet(self.root)[1]
        return np.asarray(constant - 0.5 * (nu + d) * np.log1p((r**2).sum(axis=0) / nu))


class _Frame:
    """Coordinates y; see the head of this file."""

    def __init__(self, mode: Array, hessian: Array, folded: IntArray) -> None:
        values, vectors = np.linalg.eigh(hessian)
        self.mode, self.root, self.folded = mode, vectors / np.sqrt(np.maximum(values, 1.0)), folded
        self.a, self.b = np.ones(len(mode)), np.zeros(len(mode))

    def to_x(self, y: Array) -> Array:
        """Points x, (n, d), folded."""
        x = self.mode + (self.a * y + self.b * (np.sqrt(1.0 + y**2) - 1.0)) @ self.root.T
        x[:, self.folded] = np.abs(x[:, self.folded])
        return np.asarray(x)

    def to_y(self, x: Array) -> Array:
        """Coordinates y of points x, (n, d)."""
        t, a, b = np.linalg.solve(self.root, (x - self.mode).T).T + self.b, self.a, self.b
        return np.asarray((a * t - b * np.sqrt(t**2 + a**2 - b**2)) / (a**2 - b**2))

    def log_volume(self, y: Array) -> Array:
        """log|dx / dy|, (n,)."""
        bent = np.log(self.a + self.b * y / np.sqrt(1.0 + y**2)).sum(axis=1)
        return np.asarray(bent + np.linalg.slogdet(self.root)[1])

    def images(self, x: Array) -> Iterator[Array]:
        """Coordinates y of the mirror images of points."""
        for signs in product((1.0, -1.0), repeat=len(self.folded)):
            factor = np.ones(x.shape[1])
            factor[self.folded] = signs
            yield self.to_y(x * factor)


class _State(NamedTuple):
    """Points so far, weighted by all proposals."""

    x: Array
    lp: Array
    lw: Array
    replicate: IntArray


class _Search:
    """Rounds of points, walks and repairs."""

    def __init__(self, frame: _Frame, log_density: Callable[[Array], Array], want: float, seed: int) -> None:
        self._frame, self._log_density, self._want = frame, log_density, want
        self._seeds = np.random.SeedSequence(seed)
        self._proposals: list[tuple[_Student, int]] = []
        self._x: list[Array] = []
        self._lp: list[Array] = []
        self._replicate: list[IntArray] = []
        self._bare = np.nan
        self.values = 0

    def run(self, quantities: Callable[[Array], Array]) -> Weighted:
        """Points that are good enough, or what speaks against them."""
        d = len(self._frame.mode)
        size, rounds, repairs = max(LEAST, ROUND * d), 0, 0
        self._scan()
        self._batch(np.zeros(d), np.eye(d), FIRST * d + EXTRA)
        while True:
            state = self._state()
            mean, root = _moments(self._frame.to_y(state.x), state.lw, 4.0 * d)
            objections, n, effective = self._objections(state), len(state.lw), _ess(state.lw)
            lost = rounds >= 2 and (_share(state.lw) > 0.05 or _pareto_k(state.lw) > 0.8 or effective < 0.05 * n)
            if (rounds >= 1 and effective >= self._want) or lost:
                at, w = self._walk(state, root)
                self._bare = float(np.sum(1.0 / w[w > _BARE]) / np.sum(1.0 / w))  # the target over p is w
                if (not objections and self._bare <= _BARE_PASSES) or repairs == _REPAIRS or self._bare > _HOPELESS:
                    break
                self._repair(at, w, root, 0.5 * size)
                repairs += 1
            if self.values > LIMIT:
                break
            further = np.clip(1.2 * (self._want / effective - 1.0) * n + EXTRA, 0.5 * LEAST, 2.0 * size)
            self._batch(mean, 1.05 * root, size if rounds < 2 else float(further))
            rounds += 1
        if not self._bare <= _BARE_PASSES:
            objections += (f"{self._bare:.1%} of the posterior lies where no points are",)
        z = _halves(quantities(state.x), state.lw, state.replicate)
        if z > _Z:
            objections += (f"halves of the points differ by {z:.1f} standard errors",)
        return Weighted(
            x=state.x,
            log_weight=state.lw,
            replicate=state.replicate,
            values=self.values,
            ess=_ess(state.lw),
            k=_pareto_k(state.lw),
            bare=self._bare,
            objections=objections,
            order=np.linalg.solve(self._frame.root.T, np.linalg.eigh(root @ root.T)[1][:, -1]),
        )

    def _objections(self, state: _State) -> tuple[str, ...]:
        """What speaks against points, but for bare mass."""
        each = [_ess(state.lw[state.replicate == r]) for r in range(REPLICATES)]
        effective, k, share = _ess(state.lw), _pareto_k(state.lw), _share(state.lw)
        out = []
        if effective < self._want:
            out.append(f"{effective:.0f} points are effective, of {self._want:.0f}")
        if k > _K:
            out.append(f"the largest weights have Pareto k {k:.2f}")
        if share > _SHARE:
            out.append(f"one weight has {share:.1%} of all")
        if min(each) < _EVEN * max(each):
            out.append(f"scrambles have from {min(each):.0f} to {max(each):.0f} effective points")
        return tuple(out)

    def _evaluate(self, x: Array) -> Array:
        self.values += len(x)
        return self._log_density(x)

    def _next_seed(self) -> int:
        return int(self._seeds.spawn(1)[0].generate_state(1)[0])

    def _add(self, proposal: _Student, n: float) -> None:
        n_each = max(1, int(n) // REPLICATES)
        y = [proposal.draw(n_each, self._next_seed()) for _ in range(REPLICATES)]
        x = self._frame.to_x(np.concatenate(y))
        self._x.append(x)
        self._lp.append(self._evaluate(x))
        self._replicate.append(np.repeat(np.arange(REPLICATES), n_each))
        self._proposals.append((proposal, n_each * REPLICATES))

    def _batch(self, mean: Array, root: Array, n: float) -> None:
        self._add(_Student(mean, root, _NU), (1.0 - _WIDE_SHARE) * n)
        self._add(_Student(mean, _WIDE * root, _WIDE_NU), _WIDE_SHARE * n)

    def _repair(self, at: Array, w: Array, root: Array, n: float) -> None:
        """Add a proposal about the states of a walk with the greatest weights."""
        d, ordered = len(root), np.sort(w)
        y = self._frame.to_y(at[w >= max(ordered[-len(w) // 4], min(_BARE, ordered[-4 * d]))])
        self._add(_Student(y.mean(axis=0), np.linalg.cholesky(np.cov(y.T) + 0.25 * root @ root.T), 4.0), n)

    def _state(self) -> _State:
        x, lp = np.concatenate(self._x), np.concatenate(self._lp)
        return _State(x, lp, lp - self._log_q(x), np.concatenate(self._replicate))

    def _log_q(self, x: Array) -> Array:
        """Log density of the proposals together, (n,)."""
        total, parts = sum(n for _, n in self._proposals), []
        for y in self._frame.images(x):
            volume = self._frame.log_volume(y)
            parts += [np.log(n / total) + proposal.log_density(y) - volume for proposal, n in self._proposals]
        return np.asarray(logsumexp(parts, axis=0))

    def _scan(self) -> None:
        """Slopes of the frame: how far out on every half-axis the density falls by `_DROP`, all half-axes at once."""
        frame, d = self._frame, len(self._frame.mode)
        top = float(self._evaluate(frame.mode[None])[0])
        ways = np.concatenate([-frame.root.T, frame.root.T])
        low, high, r = np.zeros(2 * d), np.full(2 * d, np.inf), np.full(2 * d, np.sqrt(2.0 * _DROP))
        left = np.arange(2 * d)
        for _ in range(_SCANS):
            fall = top - self._evaluate(frame.mode + r[left, None] * ways[left])
            left, fall = left[(far := np.abs(fall - _DROP) >= 0.1 * _DROP)], fall[far]
            if not len(left):
                break
            short = fall < _DROP
            low[left] = np.where(short, np.maximum(low[left], r[left]), low[left])
            high[left] = np.where(short, high[left], np.minimum(high[left], r[left]))
            with np.errstate(invalid="ignore"):
                step = r[left] * np.sqrt(np.clip(_DROP / np.maximum(fall, 1e-3), 0.1, 4.0))
            step = np.where(np.isfinite(fall), step, 0.5 * r[left])
            inside = (low[left] < step) & (step < high[left])
            r[left] = np.where(inside, step, 0.5 * (low[left] + np.minimum(high[left], 2.0 * r[left])))
        slopes = np.clip(r / np.sqrt(2.0 * _DROP), 0.3, 4.0).reshape(2, d)
        frame.a, frame.b = slopes.mean(axis=0), 0.5 * (slopes[1] - slopes[0])

    def _walk(self, state: _State, root: Array) -> tuple[Array, Array]:
        """States of random walks on p²/q from the greatest weights, and their weights over the mean of all."""
        frame, rng, d = self._frame, np.random.default_rng(self._next_seed()), len(root)
        order = np.argsort(-state.lw)
        begin = np.concatenate([order[state.replicate[order] == r][:2] for r in range(REPLICATES)])
        level, size = logsumexp(state.lw) - np.log(len(state.lw)), 2.4 / np.sqrt(d)
        at, w = state.x[begin], state.lw[begin]
        target = state.lp[begin] + w + frame.log_volume(frame.to_y(at))
        seen = []
        for _ in range(max(32, 3 * d)):
            new = frame.to_x(frame.to_y(at) + size * rng.standard_normal(at.shape) @ root.T)
            lp = self._evaluate(new)
            lw = lp - self._log_q(new)
            aim = lp + lw + frame.log_volume(frame.to_y(new))  # the density of y
            ok = np.log(rng.random(len(at))) < aim - target
            at, w, target = np.where(ok[:, None], new, at), np.where(ok, lw, w), np.where(ok, aim, target)
            size *= np.exp(0.15 * (ok.mean() - 0.3))
            seen.append((at, np.exp(w - level)))
        return np.concatenate([a for a, _ in seen]), np.concatenate([b for _, b in seen])


def _ess(lw: Array) -> float:
    return float(np.exp(2.0 * logsumexp(lw) - logsumexp(2.0 * lw)))


def _share(lw: Array) -> float:
    return float(np.exp(lw.max() - logsumexp(lw)))


def _moments(y: Array, lw: Array, floor: float) -> tuple[Array, Array]:
    """Mean and root of the covariance by weights tempered until `floor` of them are effective."""
    beta = 1.0
    while _ess(beta * lw) < floor and beta > 0.05:
        beta *= 0.85
    w = np.exp(beta * lw - logsumexp(beta * lw))
    mean = w @ y
    return mean, np.linalg.cholesky((y - mean).T @ ((y - mean) * w[:, None]) + 1e-6 * np.eye(len(mean)))


def _pareto_k(lw: Array) -> float:
    """Shape of the tail of the weights, shrunk to ½ as by 10 weights more (Vehtari et al. 2024)."""
    w = np.sort(np.exp(lw - lw.max()))
    n = int(min(0.2 * len(w), 3.0 * np.sqrt(len(w))))
    x, m = w[-n:] - w[-n - 1], 30 + int(np.sqrt(n))
    if not x[-1] > 0.0 or not x[int(n / 4 + 0.5) - 1] > 0.0:
        return np.inf
    b = (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * x[int(n / 4 + 0.5) - 1]) + 1.0 / x[-1]
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    likelihood = n * (np.log(-b / k) - k - 1.0)
    best = np.exp(likelihood - logsumexp(likelihood)) @ b
    return float(np.log1p(-best * x).mean() * n / (n + 10.0) + 5.0 / (n + 10.0))


def _halves(values: Array, lw: Array, replicate: IntArray, levels: Sequence[float] = (0.025, 0.5, 0.975)) -> float:
    """Greatest standardised difference between halves of the scrambles, in means and quantiles of values (n, c)."""
    w, even, worst = np.exp(lw - logsumexp(lw)), replicate % 2 == 0, 0.0
    for v in values.T:
        order = np.argsort(v)
        cuts = v[order[np.searchsorted(w[order].cumsum(), levels).clip(0, len(v) - 1)]]
        for g in (v, *(np.where(v <= cut, 1.0, 0.0) for cut in cuts)):
            parts: list[Any] = []
            for half in (even, ~even):
                u = w[half] / w[half].sum()
                mean = u @ g[half]
                parts.append((mean, u**2 @ (g[half] - mean) ** 2))
            worst = max(worst, float(abs(parts[0][0] - parts[1][0]) / np.sqrt(parts[0][1] + parts[1][1] + 1e-12)))
    return worst

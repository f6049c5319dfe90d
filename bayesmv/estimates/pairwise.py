r"""Genetic correlations of all pairs of many traits: REML of every pair, and its posterior, from shared tables.

Traits recorded on the same units, such as spectra, metabolites or expression, have one spectral table
(:mod:`bayesmv.likelihood.spectral`) for all of them: d(λ) is common, and S(λ) = Y'P(λ)Y holds the functions of every
pair. A pair is then fitted in milliseconds, starting from the variances of its traits alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from bayesmv.arrays import Array, Shown
from bayesmv.covariance.base import SINGULAR
from bayesmv.design.design import Design
from bayesmv.design.model_record import fingerprint
from bayesmv.design.pairs import of_traits, require_pairs
from bayesmv.dims import RESIDUAL
from bayesmv.errors import DataError, SpecError, listing, require_known
from bayesmv.estimates.source import describe
from bayesmv.likelihood import RestrictedLikelihood, likelihood
from bayesmv.likelihood.spectral import series
from bayesmv.likelihood.spectral.engine import SpectralLikelihood, SpectralTable, build_table, structural_obstacle
from bayesmv.numerics.newton import Optimum
from bayesmv.numerics.progress import watched
from bayesmv.numerics.symmetric import correlation
from bayesmv.reml.delta import Uncertainty, component_gradient
from bayesmv.reml.fit import settled
from bayesmv.reml.maximise import maximise_from
from bayesmv.reml.result import fitted
from bayesmv.reml.start import start_values
from bayesmv.sampling.sample import sample

#: Columns of a pair, and those that a posterior adds.
COLUMNS = ("trait_i", "trait_j", "records", "correlation", "std_error", "constraint", "residual", "converged")
OF_POSTERIOR = ("median", "hdi_low", "hdi_high", "ess_bulk")
#: Pairs that are written, and handed to another process, at once.
_BATCH = 200
#: Share of the phenotypic correlation that both matrices start from.
_SHARE = 0.8


@dataclass(frozen=True, kw_only=True, repr=False)
class Pairwise(Shown):
    """Correlations of a term between all pairs of traits.

    Parameters
    ----------
    term
        The term.
    traits
        The traits.
    table
        A row a pair: trait_i, trait_j, records (units that record both), correlation, std_error, constraint
        (``boundary`` where it is ±1 or a variance is 0, as in :meth:`bayesmv.RemlFit.component`), residual (correlation
        of residuals), converged; with posteriors median, hdi_low, hdi_high (95 %) and ess_bulk.
    """

    term: str
    traits: tuple[str, ...]
    table: pd.DataFrame

    def summary(self) -> str:
        """Sizes, and how many of the correlations are where."""
        told = self.table["constraint"].value_counts()
        failed = int((~self.table["converged"].astype(bool)).sum())
        words = [f"{told.get('unconstrained', 0)} inside the parameter space"]
        words += [f"{n} {word}" for word, n in told.items() if word != "unconstrained"]
        words += [f"{failed} did not converge"] if failed else []
        return f"correlations of {self.term} between {len(self.traits)} traits: {len(self.table)} pairs, " + ", ".join(
            words
        )

    def matrix(self, column: str = "correlation") -> pd.DataFrame:
        """Numbers of a column as a symmetric table, traits × traits; the diagonal is 1 for correlations, else NaN."""
        require_known([column], self.table.columns, "{} is not a column of pairs; columns")
        whole = column in ("correlation", "residual", "median", "hdi_low", "hdi_high")
        out = np.full((len(self.traits), len(self.traits)), np.nan)
        np.fill_diagonal(out, 1.0 if whole else np.nan)
        place = pd.Index(self.traits)
        i, j = (place.get_indexer(pd.Index(self.table[name])) for name in ("trait_i", "trait_j"))
        out[i, j] = out[j, i] = self.table[column].to_numpy(dtype=float)
        return pd.DataFrame(out, index=place, columns=place)

    def clustered(self, column: str = "correlation") -> pd.DataFrame:
        """:meth:`matrix` with traits in the order of a clustering: average linkage of the distances 1 - r.

        Correlations that are not known count as 0.
        """
        from scipy.cluster.hierarchy import leaves_list, linkage  # not loaded with the package

        matrix = self.matrix(column)
        if len(matrix) < 3:
            return matrix
        distance = 1.0 - np.nan_to_num(self.matrix().to_numpy())[np.triu_indices(len(matrix), 1)]
        order = leaves_list(linkage(np.maximum(distance, 0.0), "average", optimal_ordering=len(matrix) <= 1000))
        return matrix.iloc[order, order]


def pairwise(
    design: Design,
    *,
    traits: Sequence[str] | None = None,
    term: str | None = None,
    posterior: bool = False,
    seed: int = 1,
    path: str | Path | None = None,
    cores: int = 1,
    progress: bool | None = None,
) -> Pairwise:
    r"""Correlations of a random term between all pairs of traits, each pair by its own two-trait model.

    Every pair has the terms of the design, unstructured between its two traits, ``Σ_k = [σ_i², σ_ij; σ_ij, σ_j²]``.
    The matrix of all estimates is that of pairs, not of one model, and need not be positive semi-definite.

    Parameters
    ----------
    design
        From :func:`bayesmv.build_design`, of all traits; ``diag(trait):animal`` suffices as its structure. Every random
        term must act on all traits.
    traits
        Some of its traits; by default all.
    term
        Term of the correlations; by default the genetic one, or the only one.
    posterior
        Also sample every pair (:func:`bayesmv.sample`), some seconds each.
    seed
        Seed of the samplers.
    path
        A CSV file to which pairs are written as they are done. If it exists, it must be of the same data and model: the
        pairs in it are not fitted again.
    cores
        Processes; the answers do not depend on it.
    progress
        Show how many pairs are done; by default in a terminal.

    Returns
    -------
    Pairwise
        The table, and its matrix.

    Raises
    ------
    SpecError
        If a trait or the term does not exist, terms differ among traits, or traits are not Gaussian.
    DataError
        If the file is of other data or another model.

    References
    ----------
    Meyer (1985), Biometrics 41:153-165 (canonical transformation of records of the same units).
    """
    require_pairs(design)
    chosen = tuple(design.traits if traits is None else dict.fromkeys(traits))
    require_known(chosen, design.traits, "no trait {}; traits")
    if len(chosen) < 2:
        raise SpecError("pairs need at least two traits")
    if cores < 1:
        raise SpecError(f"cores must be at least 1, not {cores}")
    at = [design.traits.index(trait) for trait in chosen]
    work = _Work(design, _term_of(design, term), posterior, seed, *_tables(design, at, cores))
    file = None if path is None else _File(Path(path), work.identity, work.columns)
    rows = {} if file is None else dict(file.rows)
    left = [(i, j) for i, j in combinations(at, 2) if (design.traits[i], design.traits[j]) not in rows]
    batches = [left[start : start + _BATCH] for start in range(0, len(left), _BATCH)]
    for batch in watched(_done(work, batches, cores), "Batches of pairs of traits", len(batches), progress):
        rows |= {(row["trait_i"], row["trait_j"]): row for row in batch}
        if file is not None:
            file.add(batch)
    wanted = [rows[design.traits[i], design.traits[j]] for i, j in combinations(at, 2)]
    return Pairwise(term=work.term, traits=chosen, table=pd.DataFrame(wanted, columns=list(work.columns)))


def _term_of(design: Design, term: str | None) -> str:
    names = [t.name for t in design.terms]
    if term is not None:
        return design.term(term).name
    if design.spec.genetic is not None:
        return design.spec.genetic.term
    if len(names) == 1:
        return names[0]
    raise SpecError(f"which term the correlations are of is not said; random terms: {listing(names)}")


def _tables(
    design: Design, at: Sequence[int], cores: int
) -> tuple[dict[int, tuple[int, int]], list[SpectralTable], dict[int, Array]]:
    """Spectral tables of traits recorded on the same units, where every trait stands in them, and its own variances."""
    alike: dict[bytes, list[int]] = {}
    for i in at:
        alike.setdefault(design.observed[:, i].tobytes(), []).append(i)
    places, tables, variances = dict[int, tuple[int, int]](), list[SpectralTable](), dict[int, Array]()
    for group in alike.values():
        together = of_traits(design, group)
        if len(group) < 2 or structural_obstacle(together) is not None:
            continue
        try:
            table = build_table(together, cores=cores)
        except SpecError:  # it cannot be tabulated: other engines serve these pairs
            continue
        for place, i in enumerate(group):
            places[i] = (len(tables), place)
            variances[i] = _variances_alone(of_traits(design, [i]), table, place)
        tables.append(table)
    return places, tables, variances


def _part(table: SpectralTable, design: Design, places: Sequence[int]) -> SpectralLikelihood:
    """Engine of some of the traits of a table."""
    own = series.select(table.series, np.array(places), np.ones(len(places)))
    return SpectralLikelihood(design, replace(table, design=design, series=own))


def _variances_alone(design: Design, table: SpectralTable, place: int) -> Array:
    """REML variances of one trait, of the term and residual, in working units, (2,)."""
    engine = _part(table, design, [place])
    best = maximise_from(engine, design.blocks, [start_values(design, engine, {})])
    return np.array([S[0, 0] for S in design.blocks.matrices(best.optimum.theta)])


@dataclass(frozen=True)
class _Work:
    """What the fit of a pair needs, in any process."""

    design: Design
    term: str
    posterior: bool
    seed: int
    places: Mapping[int, tuple[int, int]]
    tables: Sequence[SpectralTable]
    variances: Mapping[int, Array]

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS + OF_POSTERIOR if self.posterior else COLUMNS

    @property
    def identity(self) -> dict[str, Any]:
        """What a file of pairs must agree in."""
        seed = {"seed": self.seed, "priors": str(self.design.spec.priors)} if self.posterior else {}
        return {"pairs of": self.term, "posterior": self.posterior, **seed, **fingerprint(self.design)}

    def row(self, i: int, j: int) -> dict[str, Any]:
        """Numbers of a pair."""
        design = of_traits(self.design, [i, j])
        engine, start = self._engine(design, i, j), _start_of(design, self.variances, i, j)
        k = design.names.index(self.term)
        best = maximise_from(engine, design.blocks, [start_values(design, engine, start)]).optimum
        theta = settled(design, best.theta)
        sigmas = design.blocks.matrices(theta)
        value, error, word = self._judged(design, engine, best._replace(theta=theta), k)
        out: dict[str, Any] = {
            "trait_i": design.traits[0],
            "trait_j": design.traits[1],
            "records": int(design.observed.all(axis=1).sum()),
            "correlation": value,
            "std_error": error,
            "constraint": word,
            "residual": component_gradient(sigmas[-1], 1, 0, True)[0],
            "converged": best.converged,
        }
        return out | (self._sampled(design, engine) if self.posterior else {})

    def _engine(self, design: Design, i: int, j: int) -> RestrictedLikelihood:
        if i in self.places and j in self.places and self.places[i][0] == self.places[j][0]:
            table = self.tables[self.places[i][0]]
            return _part(table, design, [self.places[i][1], self.places[j][1]])
        return likelihood(design, "auto")

    def _judged(self, design: Design, engine: RestrictedLikelihood, best: Optimum, k: int) -> tuple[float, float, str]:
        """Correlation of term k, its standard error, and what holds it."""
        sigmas = design.blocks.matrices(best.theta)
        J = design.blocks.jacobian(best.theta)
        known = Uncertainty.of(J, J.T @ engine.average_information(sigmas) @ J, np.ones(len(J)))
        value, own = component_gradient(sigmas[k], 1, 0, True)
        gradient = np.zeros(len(J))
        gradient[3 * k : 3 * k + 3] = own
        if min(np.linalg.eigvalsh(S)[0] for S in sigmas) > SINGULAR:
            error, standing = known.judge(gradient)
            if standing == "free":
                return value, error, "unconstrained"
        # What holds an estimate on the boundary is for the fit to say; its record takes longer than most pairs.
        fit = fitted(design, engine, **best._asdict())
        return fit.component(self.term, 1, 0, as_correlation=True)

    def _sampled(self, design: Design, engine: RestrictedLikelihood) -> dict[str, float]:
        draws = sample(design, engine=engine, seed=self.seed, progress=False, cores=1)
        told = describe(draws.posterior[f"{self.term}_corr"].to_numpy()[:, :, 1, 0])
        return {name: told[name] for name in OF_POSTERIOR}


def _start_of(design: Design, variances: Mapping[int, Array], i: int, j: int) -> dict[str, Array]:
    """Start of a pair from its traits alone, with a share of the phenotypic correlation in both matrices; else none."""
    if i not in variances or j not in variances:
        return {}
    E = design.working_response
    r = _SHARE * float(correlation(E.T @ E)[1, 0])
    out = {}
    for name, pair in zip(
        (design.terms[0].name, RESIDUAL), np.stack([variances[i], variances[j]], axis=1), strict=True
    ):
        sd = np.sqrt(np.maximum(pair, 1e-3)) * design.effect_scale(name)
        out[name] = np.outer(sd, sd) * np.array([[1.0, r], [r, 1.0]])
    return out


#: Work of a process that was started for it.
_own: list[_Work] = []


def _begin(work: _Work) -> None:
    _own[:] = [work]
    threadpool_limits(1, user_api="blas")


def _batch(pairs: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    return [_own[0].row(i, j) for i, j in pairs]


def _done(work: _Work, batches: Sequence[Sequence[tuple[int, int]]], cores: int) -> Iterator[list[dict[str, Any]]]:
    """Rows of every batch, in order."""
    if cores == 1 or len(batches) < 2:
        with threadpool_limits(1, user_api="blas"):
            for batch in batches:
                yield [work.row(i, j) for i, j in batch]
        return
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_begin, initargs=(work,)) as pool:
        yield from pool.map(_batch, batches)


class _File:
    """CSV file of pairs that are done, its first line what they are of."""

    def __init__(self, path: Path, identity: Mapping[str, Any], columns: Sequence[str]) -> None:
        self.path, self.columns = path, columns
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        first = f"# {json.dumps(identity)}"
        if not path.exists() or path.stat().st_size == 0:
            path.write_text(first + "\n" + ",".join(columns) + "\n", encoding="utf-8")
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.split("\n", 1)[0] != first:
            raise DataError(
                f"{path} exists and is not of pairs of this data and model; name another file, or remove it to begin "
                f"anew"
            )
        whole = text[: text.rfind("\n") + 1]  # a run that was killed may have left half a line
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        told = pd.read_csv(
            io.StringIO(whole), skiprows=1, dtype={"trait_i": str, "trait_j": str}, keep_default_na=False
        )
        numbers = [c for c in columns if c not in ("trait_i", "trait_j", "constraint", "converged")]
        told[numbers] = told[numbers].apply(pd.to_numeric, errors="coerce")
        for row in told.to_dict("records"):
            row["converged"] = str(row["converged"]) == "True"
            self.rows[row["trait_i"], row["trait_j"]] = {str(name): value for name, value in row.items()}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows at the end."""
        text = pd.DataFrame(rows, columns=list(self.columns)).to_csv(index=False, header=False, lineterminator="\n")
        with self.path.open("a", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()

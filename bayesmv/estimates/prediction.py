r"""Predictions: adjusted means, and means with the effects of random terms, with errors, differences and contrasts.

A prediction is a linear combination ``l'β + m'u`` of fixed and random effects. Its estimate is that of the mixed-model
equations, its error ``k'C⁻¹k`` the square root of the prediction error variance. Which combinations: the cells asked
for, the fixed effects averaged over the factors that are not, covariates at their means (Lane & Nelder 1982, Biometrics
38:613-621; Welham, Cullis, Gogel, Gilmour & Thompson 2004, Aust. N. Z. J. Stat. 46:325-347).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import stdtr, stdtrit

from bayesmv.arrays import Array, BoolArray, Shown
from bayesmv.design.design import Design
from bayesmv.design.elsewhere import Combinations, combinations_at
from bayesmv.errors import SpecError, listing, require_known
from bayesmv.estimates.expected import ExpectedValues
from bayesmv.estimates.points import Combined
from bayesmv.estimates.reference_grid import At, Average, reference_grid
from bayesmv.estimates.source import HDI, estimates_of
from bayesmv.relationship.relationship import Relationship
from bayesmv.reml.small_sample import LARGEST, KenwardRoger
from bayesmv.sampling.ess import shortest_interval

#: Most cells of which all pairs are compared.
PAIRED = 500
#: Most combinations that are predicted at once: their covariance is dense.
_MOST = 20_000
#: Step of differences by latent values.
_STEP = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction(Shown):
    """Predictions of cells and traits.

    Parameters
    ----------
    cells
        Values that tell the cells apart, (c, …).
    traits
        Names of the traits (t,).
    combined
        Values, covariance of their errors and draws, cell by cell, trait by trait, in the units of the data.
    estimable
        Which of them the data determine, (c t,).
    said
        How the other columns were set, in words.
    method
        Where degrees of freedom come from: ``Kenward-Roger``, ``normal``, or ``posterior``.
    combinations
        What was predicted, for degrees of freedom.
    small
        Inference for small samples, if that is the method.
    expected
        What is expected of records at latent values; None where every trait is Gaussian.
    """

    cells: pd.DataFrame
    traits: tuple[str, ...]
    combined: Combined
    estimable: BoolArray
    said: tuple[str, ...]
    method: str
    combinations: Combinations
    small: KenwardRoger | None = None
    expected: ExpectedValues | None = None

    def on_data_scale(self) -> pd.DataFrame:
        """Expected records of the cells: probabilities of classes, and counts.

        At the latent values that are predicted, residual overdispersion of counts averaged over: Φ(η) of a binary trait
        with a probit link, ``Φ(c_k - η) - Φ(c_{k-1} - η)`` of the scores of an ordered one, ``exp(η + σ²/2)`` of a
        count. Random terms that take no part are at 0, so that these are of an average level, and not averages over
        levels.

        Returns
        -------
        DataFrame
            The values that tell the cells apart, trait, quantity (``probability``, ``P(1)``, ``P(2)``, …, ``expected
            count``, or the ``mean`` of a Gaussian trait), and for REML predicted and std_error (delta method,
            thresholds and variances held at their estimates); for a posterior mean, median, sd, hdi_low, hdi_high; and
            status.

        Raises
        ------
        SpecError
            If every trait is Gaussian, so that the predictions are on the scale of the data.
        """
        if self.expected is None:
            raise SpecError("every trait is Gaussian: predictions are on the scale of the data")
        t, c = len(self.traits), len(self.cells)
        drawn = self.combined.draws
        eta = (self.combined.value[None] if drawn is None else drawn).reshape(-1, c, t)
        error = np.sqrt(np.maximum(np.diag(self.combined.covariance), 0.0)).reshape(c, t)
        estimable = self.estimable.reshape(c, t)
        parts = []
        for i, trait in enumerate(self.traits):
            slopes = self.expected.at(i, eta[..., i] + _STEP), self.expected.at(i, eta[..., i] - _STEP)
            for (quantity, values), (_, up), (_, down) in zip(self.expected.at(i, eta[..., i]), *slopes, strict=True):
                part = self.cells.reset_index(drop=True).assign(trait=trait, quantity=quantity)
                columns = (
                    {"predicted": values[0], "std_error": np.abs(up - down)[0] / (2.0 * _STEP) * error[:, i]}
                    if drawn is None
                    else _summaries(values)
                )
                blank = np.where(estimable[:, i], 1.0, np.nan)
                part = part.assign(**{name: each * blank for name, each in columns.items()})
                parts.append(part.assign(status=np.where(estimable[:, i], "", "not estimable")))
        return pd.concat(parts, ignore_index=True)

    @property
    def labels(self) -> list[str]:
        """Names of the cells: their values, joined by colons."""
        if not len(self.cells.columns):
            return ["mean"]
        return [":".join(_word(value) for value in row) for row in self.cells.itertuples(index=False)]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Predictions: the values that tell the cells apart, and trait.

        For REML predicted, std_error, df, status; for a posterior mean, median, sd, hdi_low, hdi_high, status. What
        the data do not determine is NaN, and ``not estimable``.
        """
        t = len(self.traits)
        labels = self.cells.loc[self.cells.index.repeat(t)].reset_index(drop=True)
        labels["trait"] = np.tile(np.asarray(self.traits, dtype=object), len(self.cells))
        columns = self._described(sparse.eye_array(len(self.estimable), format="csr"))
        return pd.concat([labels, columns], axis=1)

    def differences(self, trait: str | None = None) -> pd.DataFrame:
        """Differences of all pairs of cells of every trait, or of one.

        Returns
        -------
        DataFrame
            trait, first, second, and of first less second for REML difference, std_error (s.e.d.), df, t, p; for a
            posterior mean, median, sd, hdi_low, hdi_high, prob_positive.

        Raises
        ------
        SpecError
            If there are more than 500 cells.
        """
        if len(self.cells) > PAIRED:
            raise SpecError(f"{len(self.cells)} cells have too many pairs (at most {PAIRED} cells); give contrasts()")
        labels, c = self.labels, len(self.cells)
        first, second = np.triu_indices(c, 1)
        by = sparse.csr_array(
            (
                np.tile([1.0, -1.0], len(first)),
                np.column_stack([first, second]).reshape(-1),
                2 * np.arange(len(first) + 1),
            ),
            shape=(len(first), c),
        )
        names = pd.DataFrame({"first": [labels[i] for i in first], "second": [labels[i] for i in second]})
        return self._compared(by, names, trait)

    def contrasts(self, weights: Mapping[str, Any] | pd.DataFrame, trait: str | None = None) -> pd.DataFrame:
        """Contrasts among the cells.

        Parameters
        ----------
        weights
            Weights of the cells by name of the contrast: a sequence of one number for each cell, or a mapping from
            names of cells; or a DataFrame with a column for each cell and a row for each contrast.
        trait
            The trait; by default all.

        Returns
        -------
        DataFrame
            contrast and trait, then as :meth:`differences`.

        Raises
        ------
        SpecError
            If a cell does not exist or the numbers are not as many as the cells.
        """
        labels = self.labels
        if isinstance(weights, pd.DataFrame):
            weights = {str(name): dict(row) for name, row in weights.iterrows()}
        rows = []
        for name, given in weights.items():
            if isinstance(given, Mapping):
                require_known(given, labels, f"the contrast '{name}' names {{}}, which is no cell; cells")
                rows.append([float(given.get(label, 0.0)) for label in labels])
                continue
            numbers = np.asarray(given, dtype=float)
            if numbers.shape != (len(labels),):
                raise SpecError(
                    f"the contrast '{name}' has {numbers.size} weights for {len(labels)} cells: {listing(labels)}"
                )
            rows.append(numbers.tolist())
        return self._compared(sparse.csr_array(np.array(rows)), pd.DataFrame({"contrast": list(weights)}), trait)

    def lsd(self, level: float = 0.05) -> pd.DataFrame:
        """Standard errors of differences and least significant differences of every trait.

        Returns
        -------
        DataFrame
            trait, the least, mean and largest s.e.d. over pairs of cells, df (their mean), and lsd, the mean s.e.d.
            times the quantile of Student's t.
        """
        pairs = self.differences()
        error = "std_error" if "std_error" in pairs else "sd"
        rows = []
        for trait in self.traits:
            mine = pairs[pairs["trait"] == trait]
            sed = mine[error].to_numpy()
            df = float(mine["df"].mean()) if "df" in mine else np.inf
            mean = float(np.nanmean(sed)) if len(sed) else np.nan
            rows.append((trait, np.nanmin(sed), mean, np.nanmax(sed), df, mean * stdtrit(df, 1.0 - level / 2.0)))
        return pd.DataFrame(rows, columns=["trait", "sed_min", "sed_mean", "sed_max", "df", "lsd"])

    def covariance(self, trait: str) -> pd.DataFrame:
        """Covariance of the errors of the predictions of a trait, cells by cells."""
        require_known([trait], self.traits, "no trait {}; traits")
        at = slice(self.traits.index(trait), None, len(self.traits))
        return pd.DataFrame(self.combined.covariance[at, at], index=self.labels, columns=self.labels)

    def _compared(self, by: sparse.csr_array, names: pd.DataFrame, trait: str | None) -> pd.DataFrame:
        """Comparisons (j, cells) of some traits, trait by trait."""
        chosen = self.traits if trait is None else (trait,)
        require_known(chosen, self.traits, "no trait {}; traits")
        parts = []
        for each in chosen:
            place = np.zeros(len(self.traits))
            place[self.traits.index(each)] = 1.0
            columns = self._described(sparse.csr_array(sparse.kron(by, sparse.csr_array(place[None]))), compared=True)
            labelled = names.copy()
            labelled.insert(0, "trait", each)
            parts.append(pd.concat([labelled, columns], axis=1))
        return pd.concat(parts, ignore_index=True)

    def _described(self, by: sparse.csr_array, compared: bool = False) -> pd.DataFrame:
        """Columns of sums (j, c t) of the predictions."""
        lost = np.asarray(abs(by) @ (~self.estimable).astype(float)) > 0
        value = np.asarray(by @ self.combined.value)
        variance = np.asarray(by.multiply(by @ self.combined.covariance).sum(axis=1)).reshape(-1)
        error = np.sqrt(np.maximum(variance, 0.0))
        status = np.where(lost, "not estimable", "")
        blank = np.where(lost, np.nan, 1.0)
        if self.combined.draws is not None:
            draws = np.asarray((by @ self.combined.draws.T).T)
            # Moments are exact given the covariances of each draw.
            exact = {"mean": value, "sd": error}
            columns = {name: each * blank for name, each in (_summaries(draws) | exact).items()}
            if compared:
                columns["prob_positive"] = (draws > 0).mean(axis=0) * blank
            return pd.DataFrame({**columns, "status": status})
        df = self._freedom(by)
        columns = {
            ("difference" if compared else "predicted"): value * blank,
            "std_error": error * blank,
            "df": df * blank,
        }
        if compared:
            with np.errstate(invalid="ignore", divide="ignore"):
                t = value / error
            columns |= {"t": t * blank, "p": 2.0 * stdtr(df, -np.abs(t)) * blank}
        return pd.DataFrame({**columns, "status": status})

    def _freedom(self, by: sparse.csr_array) -> Array:
        if self.small is None:
            return np.full(by.shape[0], np.inf)
        return self.small.degrees_of_freedom((by @ self.combinations.fixed).toarray())

    def summary(self) -> str:
        """Predictions, and how other columns were set."""
        tables = [self.frame] if self.expected is None else [self.frame, self.on_data_scale()]
        texts = [table.to_string(index=False, float_format=lambda v: f"{v:.6g}") for table in tables]
        return "\n".join(["\n\n".join(texts), *self.said])


def predict(
    source: Any,
    at: At = (),
    *,
    average: Average = "equal",
    terms: Sequence[str] | None = None,
    relationships: Mapping[str, Relationship] | None = None,
    design: Design | None = None,
    small_sample: bool | None = None,
    max_draws: int = 400,
    seed: int = 1,
) -> Prediction:
    """Predict means of cells: adjusted means (BLUEs), or with the effects of random terms (BLUPs).

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    at
        What the cells are: the name of a factor, several names, or values by name, ``{"site": None, "age": [10, 20]}``,
        None for all levels of a factor; or a DataFrame with a row for each cell. By default the mean.
    average
        How factors among the fixed effects that `at` does not name are averaged over: ``equal`` (each level alike),
        ``observed`` (combinations of their levels as often as recorded), ``present`` (alike over those that were
        recorded in the cell), or shares by factor, ``{"sex": {"F": 0.7, "M": 0.3}}``, the others alike. Covariates that
        `at` does not name stand at their means over the records.
    terms
        Names of the random terms whose effects are included; by default those of which `at` names all factors. Others
        are 0: predictions of an average level of theirs.
    relationships
        For levels that the fit does not have: relationships that hold them beside those of the fit, by the names of
        the model. Independent new levels need none. Their effects are predicted from the relatives, and what is
        uncertain of them is in the error.
    design
        For a posterior: its design.
    small_sample
        Kenward and Roger's errors and degrees of freedom for adjusted means of a REML fit; by default where there are
        at most 2,000 records.
    max_draws
        Most draws of the covariances of a posterior to use, evenly spaced.
    seed
        Of the draws of effects given those of the covariances.

    Returns
    -------
    Prediction
        ``.frame``, ``.differences()``, ``.contrasts(weights)``, ``.lsd()``, ``.covariance(trait)``. In the units of the
        data, or on the latent scale of traits that are not Gaussian, of which ``.on_data_scale()`` gives probabilities
        and expected counts; at an offset of 0.

    Raises
    ------
    SpecError
        If a name is not of a column that the model uses, or the fit or posterior lacks its design.
    DataError
        If a level does not exist.
    """
    estimates = estimates_of(source)
    design = estimates.design_of(design)
    grid = reference_grid(design, at, average, terms)
    t, c = len(design.traits), len(grid.cells)
    if c * t > _MOST:
        raise SpecError(f"{c} cells of {t} traits are more than can be predicted at once ({_MOST}); name fewer levels")
    each = combinations_at(design, grid.rows, grid.terms, relationships)
    wanted = each.weighted(sparse.csr_array(sparse.kron(grid.weights, sparse.eye_array(t))))
    combined = estimates.combine(wanted, design, max_draws, seed)
    small = None
    if estimates.fit is not None and small_sample is not False and not grid.terms:
        if design.gaussian and design.n_records <= LARGEST:
            small = KenwardRoger(estimates.fit, design)
            weights = wanted.fixed.toarray() * wanted.unit[:, None]
            combined = Combined(value=combined.value, covariance=weights @ small.adjusted @ weights.T)
        elif small_sample:
            raise SpecError(f"Kenward and Roger's errors are for {LARGEST} records at most, not {design.n_records}")
    if small_sample and small is None:
        raise SpecError(
            "Kenward and Roger's errors are for adjusted means of a REML fit of Gaussian traits, with no random terms: "
            "terms=()"
        )
    offset = ("offsets are 0",) if np.any(design.offset) else ()
    return Prediction(
        cells=grid.cells,
        traits=design.traits,
        combined=combined,
        estimable=wanted.estimable,
        said=(*grid.said, *offset),
        method="posterior" if estimates.fit is None else "normal" if small is None else "Kenward-Roger",
        combinations=wanted,
        small=small,
        expected=None if design.gaussian else ExpectedValues.of(estimates, design, max_draws),
    )


def _summaries(draws: Array) -> dict[str, Array]:
    """Columns of draws (draws, k)."""
    low, high = shortest_interval(draws, HDI)
    mean, median, sd = draws.mean(axis=0), np.median(draws, axis=0), draws.std(axis=0, ddof=1)
    return {"mean": mean, "median": median, "sd": sd, "hdi_low": low, "hdi_high": high}


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

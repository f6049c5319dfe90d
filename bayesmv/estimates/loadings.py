"""Factor loadings of ``fa`` and ``rr`` terms, rotated to be read."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from bayesmv import dims
from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.estimates.source import describe
from bayesmv.reml.result import RemlFit
from bayesmv.sampling.trace import axis_labels, draws_of, term_names

Rotation = Literal["principal", "varimax"]


def factor_loadings(source: RemlFit | xr.DataTree, term: str, *, rotation: Rotation = "principal") -> pd.DataFrame:
    r"""Rotated loadings, specific variances and shares of variance of a term with factors, Σ = ΛΛ' + Ψ.

    The rotation is found for loadings in units of the term's standard deviations (correlations of the effects with the
    factors), so that it does not depend on the units of the traits.

    Parameters
    ----------
    source
        A REML fit, or a posterior from :func:`bayesmv.sample`.
    term
        Name of a term with the structure ``fa`` or ``rr``.
    rotation
        ``"principal"``: uncorrelated columns, the first explains most; ``"varimax"``: simple structure (Kaiser 1958).
        The correlations of every factor have a positive sum.

    Returns
    -------
    DataFrame
        quantity, trait, factor and estimate for REML; mean, median, sd, hdi_low, hdi_high, … for a posterior, each draw
        being turned to the rotated loadings of the posterior mean of ΛΛ' (orthogonal Procrustes). The quantities are
        ``loading`` (units of the data), ``correlation`` (of effect and factor), ``explained`` (share of the variance of
        a trait, or of the mean trait, by a factor or by all) and ``specific variance``.

    Raises
    ------
    SpecError
        If the term does not exist or has no factors.

    References
    ----------
    Smith, Cullis & Thompson (2001), Biometrics 57:1138-1147.
    """
    if rotation not in get_args(Rotation):
        raise SpecError(f"unknown rotation {rotation!r}; allowed: {', '.join(get_args(Rotation))}")
    loadings, specific, traits = _parts(source, term)
    variance = np.sum(loadings**2, axis=-1) + specific
    sd = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    standard = loadings / sd[..., None]
    reference = _reference(standard, rotation)
    turned = standard @ procrustes(standard, reference)
    summary = describe if isinstance(source, xr.DataTree) else _estimate
    rows = _rows(turned, sd, specific, traits)
    return pd.DataFrame([{"quantity": q, "trait": t, "factor": f} | summary(v) for q, t, f, v in rows])


def _estimate(values: Array) -> dict[str, float]:
    return {"estimate": float(values.squeeze())}


@singledispatch
def _parts(source: Any, term: str) -> tuple[Array, Array, list[str]]:
    """Loadings (chains, draws, m, k) and specific variances (chains, draws, m) in the units of the data; traits."""
    raise TypeError(f"expected a RemlFit or a posterior DataTree, not {type(source).__name__}")


@_parts.register
def _(source: RemlFit, term: str) -> tuple[Array, Array, list[str]]:
    design = source.design
    if term not in design.names:
        raise SpecError(f"no term '{term}'; terms: {', '.join(design.names)}")
    found = design.structure(term).loadings(source.theta[design.parameters_of(term)])
    if found is None:
        raise _no_factors(term, design.structure(term).name)
    scale = design.effect_scale(term)
    return (found[0] * scale[:, None])[None, None], (found[1] * scale**2)[None, None], list(design.effects_of(term))


@_parts.register
def _(source: xr.DataTree, term: str) -> tuple[Array, Array, list[str]]:
    if term not in term_names(source):
        raise SpecError(f"no term '{term}'; terms: {', '.join(term_names(source))}")
    if dims.loading_name(term) not in source["posterior"].to_dataset():
        raise _no_factors(term, "another structure")
    loadings = draws_of(source, dims.loading_name(term))
    return loadings.to_numpy(), draws_of(source, dims.specific_name(term)).to_numpy(), axis_labels(loadings, 2)


def _no_factors(term: str, structure: str) -> SpecError:
    return SpecError(f"the term '{term}' has no factors ({structure}); loadings are those of fa(k) and rr(k)")


def _reference(standard: Array, rotation: Rotation) -> Array:
    """Rotated loadings (m, k) of the mean of ΛΛ'."""
    k = standard.shape[-1]
    mean = np.mean(standard @ np.swapaxes(standard, -1, -2), axis=(0, 1))
    values, vectors = np.linalg.eigh(mean)
    loadings = vectors[:, ::-1][:, :k] * np.sqrt(np.maximum(values[::-1][:k], 0.0))
    if rotation == "varimax":
        loadings = varimax(loadings)
    order = np.argsort(-np.sum(loadings**2, axis=0), kind="stable")
    loadings = loadings[:, order]
    return np.asarray(loadings * np.where(loadings.sum(axis=0) < 0.0, -1.0, 1.0))


def procrustes(loadings: Array, reference: Array) -> Array:
    """Orthogonal Q (…, k, k) that brings loadings (…, m, k) nearest to a reference (m, k)."""
    U, _, V = np.linalg.svd(np.swapaxes(loadings, -1, -2) @ reference)
    return np.asarray(U @ V)


def varimax(loadings: Array, steps: int = 500) -> Array:
    """Rotate loadings (m, k) so that their squares vary most within columns (Kaiser 1958, Psychometrika 23:187)."""
    Q = np.eye(loadings.shape[1])
    for _ in range(steps):
        turned = loadings @ Q
        U, _, V = np.linalg.svd(loadings.T @ (turned**3 - turned * np.mean(turned**2, axis=0)))
        if np.allclose(U @ V, Q, rtol=0.0, atol=1e-12):
            break
        Q = U @ V
    return np.asarray(loadings @ Q)


def _rows(turned: Array, sd: Array, specific: Array, traits: list[str]) -> list[tuple[str, str, str, Array]]:
    """Quantity, trait, factor and draws (chains, draws) of every row of the table."""
    k, both = turned.shape[-1], [(i, f) for f in range(turned.shape[-1]) for i in range(len(traits))]
    share = turned**2
    rows = [("loading", traits[i], str(f + 1), turned[..., i, f] * sd[..., i]) for i, f in both]
    rows += [("correlation", traits[i], str(f + 1), turned[..., i, f]) for i, f in both]
    rows += [("explained", traits[i], "all", share[..., i, :].sum(axis=-1)) for i in range(len(traits))]
    rows += [("explained", "mean", str(f + 1), share[..., f].mean(axis=-1)) for f in range(k)]
    rows += [("explained", "mean", "all", share.sum(axis=-1).mean(axis=-1))]
    return rows + [("specific variance", t, "", specific[..., i]) for i, t in enumerate(traits)]

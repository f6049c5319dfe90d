"""Factor loadings of ``fa`` and ``rr`` terms, rotated to be read."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from bayesmv.arrays import Array
from bayesmv.errors import SpecError
from bayesmv.estimates.source import estimates_of

Rotation = Literal["principal", "varimax"]


def factor_loadings(source: Any, term: str, *, rotation: Rotation = "principal") -> pd.DataFrame:
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
    estimates = estimates_of(source)
    structure, found = estimates.record.structure(term), estimates.loadings(term)
    if found is None:
        raise SpecError(f"the term '{term}' has no factors ({structure.name}); loadings are those of fa(k) and rr(k)")
    loadings, specific = found
    traits = list(estimates.record.effects_of(term))
    variance = np.sum(loadings**2, axis=-1) + specific
    sd = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    standard = loadings / sd[..., None]
    reference = _reference(standard, rotation)
    turned = standard @ procrustes(standard, reference)
    rows = _rows(turned, sd, specific, traits)
    return pd.DataFrame([{"quantity": q, "trait": t, "factor": f} | estimates.summarise(v) for q, t, f, v in rows])


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

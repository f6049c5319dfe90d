r"""Expected information of the restricted likelihood: what a design can tell before there are records.

.. math:: E[-\partial^2 l / \partial σ_a \partial σ_b] = \tfrac12 tr(P V_a P V_b), \quad V_a = \partial V / \partial σ_a

Where the terms have common eigenvectors (:mod:`bayesmv.likelihood.strata`), or there is one term, this is a sum over
strata, ``½ Σ_s d_s c_as c_bs tr(V_s⁻¹ E_a V_s⁻¹ E_b)``; otherwise V is written out.

Source: Searle, Casella & McCulloch (1992), Variance Components, section 6.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.errors import SpecError
from bayesmv.likelihood.spectral.eigen import spectrum
from bayesmv.likelihood.spectral.engine import obstacle
from bayesmv.likelihood.strata import find_strata
from bayesmv.numerics.symmetric import unit_components

#: Most records for which V is written out, and levels of a single term whose eigenvalues are found.
MOST_RECORDS, MOST_LEVELS = 4000, 6000


def expected_information(design: Design, sigmas: Sequence[Array]) -> Array:
    """Expected information on the stacked lower triangles of the matrices, in working units, (c, c).

    Parameters
    ----------
    design
        The design; its records are not used.
    sigmas
        Covariance matrices of the scaled traits, in the order of ``design.names``.

    Raises
    ------
    SpecError
        If the design is neither balanced, nor of one term, nor small.
    """
    design.require_gaussian("expected information is known")
    strata = find_strata(design)
    if strata is not None:
        return _over_strata(strata.coefficients, strata.freedom, sigmas)
    if obstacle(design) is None and len(design.terms[0].levels) <= MOST_LEVELS:
        found = spectrum(design)
        rest = len(design.units) - found.X.shape[1] - len(found.eigenvalues)
        values = np.append(found.eigenvalues, 0.0)[:, None]
        return _over_strata(values, np.append(np.ones(len(found.eigenvalues)), rest), sigmas)
    if design.n_records > MOST_RECORDS:
        raise SpecError(
            f"the expected information of {design.n_records} records of several terms that are not balanced is not "
            f"known here ({MOST_RECORDS} are the most); plan a balanced design, or simulate it by a study"
        )
    return _written_out(design, sigmas)


def _over_strata(coefficients: Array, freedom: Array, sigmas: Sequence[Array]) -> Array:
    c = np.column_stack([coefficients, np.ones(len(freedom))])
    inverse = np.linalg.inv(np.einsum("sk,kab->sab", c, np.stack(list(sigmas))))
    E = np.stack(unit_components(len(sigmas[0])))
    T = np.einsum("sab,ibc->siac", inverse, E)  # V_s⁻¹ E_i
    within = np.einsum("siab,sjba->sij", T, T)
    blocks = 0.5 * np.einsum("s,sk,sl,sij->kilj", freedom, c, c, within)
    size = c.shape[1] * len(E)
    return np.asarray(blocks.reshape(size, size))


def _written_out(design: Design, sigmas: Sequence[Array]) -> Array:
    """½ tr(P V_a P V_b) of the records that there are, trait by trait."""
    n, t = design.observed.shape
    seen = design.observed.T.reshape(-1)
    parts = list[Array]()
    for term in design.terms:
        K = np.linalg.inv(term.precision.toarray())
        for E in unit_components(len(term.effects)):
            V = np.zeros((t, n, t, n))
            for e, f in zip(*np.nonzero(E), strict=True):
                Z, W = (term.incidences[term.load_of[k]] for k in (e, f))
                V[term.trait_of[e], :, term.trait_of[f], :] += E[e, f] * (Z @ K @ W.T)
            parts.append(V.reshape(n * t, n * t)[np.ix_(seen, seen)])
    m = len(design.residual.effects)
    spread = [design.residual.spread(np.tile(np.eye(m)[e], (n, 1))) for e in range(m)]  # effect e in every record
    for E in unit_components(m):
        V = np.zeros((t, n, t, n))
        units = np.arange(n)
        for e, f in zip(*np.nonzero(E), strict=True):
            V[:, units, :, units] += E[e, f] * np.einsum("na,nb->nab", spread[e], spread[f])
        parts.append(V.reshape(n * t, n * t)[np.ix_(seen, seen)])
    packed = np.concatenate([S[np.tril_indices(len(S))] for S in sigmas])
    V = np.einsum("c,cij->ij", packed, np.stack(parts))
    X = _fixed(design)[seen]
    W = np.linalg.inv(V)
    WX = W @ X
    P = W - WX @ np.linalg.solve(X.T @ WX, WX.T)
    products = np.stack([(P @ part).reshape(-1) for part in parts])
    crossed = np.stack([(part @ P).reshape(-1) for part in parts])  # (P V_b)' by rows
    return np.asarray(0.5 * products @ crossed.T)


def _fixed(design: Design) -> Array:
    """Fixed effects of the records, trait by trait, (t n, coefficients)."""
    W, present = design.fixed.working.toarray(), design.fixed.present
    columns = [
        np.concatenate([W[:, v] if s == trait else np.zeros(len(W)) for s in range(len(design.traits))])
        for v, trait in zip(*np.nonzero(present), strict=True)
    ]
    return np.stack(columns, axis=1)

"""Coordinates of a posterior that suit it, found from its REML estimates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmv.arrays import Array
from bayesmv.design.design import Design
from bayesmv.posterior.coordinates import PLANAR_UNIT
from bayesmv.posterior.log_posterior import LogPosterior
from bayesmv.numerics.symmetric import packed_rows

SHARE = float(os.environ.get("SHARE", 0.5))
CLEAR = float(os.environ.get("CLEAR", 4))
FLOOR = float(os.environ.get("FLOOR", 1.0))
DF = float(os.environ.get("DF", 2))
RESTART = float(os.environ.get("RESTART", 0.3))


def suited(posterior: LogPosterior, sigmas: Sequence[Array]) -> LogPosterior:
    posterior = replace(posterior, design=pivoted(posterior.design, sigmas))
    blocks = posterior.blocks
    noise = noises(posterior, sigmas)
    new, rel = [], []
    for k, (s, S) in enumerate(zip(blocks.structures, sigmas)):
        freedom = len(posterior.design.terms[k].levels) - 1 if k < len(posterior.design.terms) else np.inf
        a, b = sheared(s, S, noise[k], freedom)
        new.append(a), rel.append(b)
    design = posterior.design
    terms = tuple(replace(term, structure=s) for term, s in zip(design.terms, new[:-1], strict=True))
    posterior = replace(posterior, design=replace(design, terms=terms, residual=replace(design.residual, structure=new[-1])))
    blocks = posterior.blocks
    theta = blocks.from_matrices(sigmas)
    out = np.full(len(theta), PLANAR_UNIT)
    for s, at, n, r in zip(blocks.structures, blocks.slices, noise, rel):
        own = theta[at]
        for i, d in enumerate(np.flatnonzero(s.anchor == np.arange(s.n_parameters))):
            if r is not None and r[i]:
                out[at.start + d] = 0.0
                continue
            size = np.sqrt(np.sum(own[s.anchor == d] ** 2))
            out[at.start + d] = min(max(SHARE * size, FLOOR * n[d]), PLANAR_UNIT)
    if os.environ.get("SHOW"): print(out[blocks.anchor == np.arange(len(out))], noise)
    return posterior.planar(out)


def noises(posterior, sigmas):
    blocks = posterior.blocks
    theta = blocks.from_matrices(sigmas)
    out = []
    begin = np.cumsum([0, *(s.size * (s.size + 1) // 2 for s in blocks.structures)])
    for k, (s, at) in enumerate(zip(blocks.structures, blocks.slices)):
        there = [S if (j != k or k == len(sigmas) - 1) else np.zeros_like(S) for j, S in enumerate(sigmas)]
        information = posterior.engine.average_information(there)
        I = information[begin[k]:begin[k+1], begin[k]:begin[k+1]]
        rows, cols = packed_rows(s.size)
        own = theta[at]
        n = np.full(s.n_parameters, np.nan)
        for d in np.flatnonzero(s.anchor == np.arange(s.n_parameters)):
            probe = np.where(s.anchor >= 0, 0.0, own)
            probe[d] = 1.0
            D = s.matrix(probe)[rows, cols]
            info = D @ I @ D
            n[d] = info ** -0.25 if info > 0 else np.inf
        out.append(n)
    return out


def pivoted(design: Design, sigmas: Sequence[Array]) -> Design:
    """Return the design with the rows of unstructured factors in the order of their pivots at the given matrices.

    The correlations of an effect without variance are free. In the last row of the factor, that is an ordinary point of
    the planar coordinates; in an earlier row it would be a line to which the rows below it widen.
    """
    structures = [s.pivoted(S) for s, S in zip(design.blocks.structures, sigmas, strict=True)]
    terms = tuple(replace(term, structure=s) for term, s in zip(design.terms, structures[:-1], strict=True))
    return replace(design, terms=terms, residual=replace(design.residual, structure=structures[-1]))

def sheared(s, S, noise, freedom):
    if not hasattr(s, "shear"): return s, None
    m = s.size
    order = s.pivoted(S).effect_of
    sd = np.sqrt(np.diag(S))
    clear = sd > CLEAR * noise[s.anchor == np.arange(len(s.anchor))][np.argsort(s.effect_of)]
    nz = noise[s.anchor == np.arange(len(s.anchor))][np.argsort(s.effect_of)]
    if not clear.any() or freedom > DF * clear.sum(): return s, None
    rest = S.copy()
    leads, T = [], np.eye(m)
    for i in order[clear[order]]:
        if len(leads) < freedom and rest[i, i] > (CLEAR * nz[i]) ** 2:
            others = clear.copy(); others[leads + [i]] = False
            T[others, i] = rest[others, i] / rest[i, i]
            rest = rest - np.outer(rest[i], rest[i]) / rest[i, i]
            leads.append(int(i))
    follow = [int(i) for i in order if clear[i] and i not in leads]
    dim = [int(i) for i in order if not clear[i]]
    if not leads or (follow and len(leads) < freedom): return s, None
    o = follow + leads[::-1] + dim
    known = np.arange(m) < m - len(dim)
    if os.environ.get("SHOW"): print(T[np.ix_(o, o)], o, leads, sd, nz)
    return replace(s, order=tuple(o), shear=tuple(map(tuple, T[np.ix_(o, o)]))), known

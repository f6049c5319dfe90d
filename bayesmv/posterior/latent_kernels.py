"""Log density of records and whitened effects together, and its derivatives: the inner loop of the exact sampler."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfcx

from bayesmv.arrays import Array
from bayesmv.numerics.compiled import FAST, njit
from bayesmv.numerics.small_matrices import affine
from bayesmv.posterior.latent_places import (
    CENSORED,
    GAUSSIAN,
    LOGIT,
    NEGATIVE_BINOMIAL,
    ORDERED,
    POISSON,
    PROBIT,
    ZERO_INFLATED,
    cuts_of,
    in_predictor,
    of_place,
    placed,
    pulled,
)

_ROOT_2, _ROOT_2_OVER_PI = math.sqrt(2.0), math.sqrt(2.0 / math.pi)
#: Latent value beyond which an expected count is held, so that it is a number.
_HIGHEST = 300.0


def _erfcx_table() -> Array:
    """Coefficients of erfcx(x) / y, y = 4 / (4 + x), in powers of the place within each of the intervals of y."""
    nodes = np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    y = (np.arange(_INTERVALS)[:, None] + 0.5 * (nodes + 1.0)) / _INTERVALS
    values = erfcx(4.0 / y - 4.0) / y
    return np.ascontiguousarray(np.linalg.solve(np.vander(nodes), values.T).T)


_INTERVALS, _DEGREE = 100, 7
_ERFCX = _erfcx_table()


@njit(cache=True, error_model="numpy")
def scaled_tail(x):  # type: ignore[no-untyped-def]
    """exp(x²) erfc(x) of x ≥ 0, to some units of the last place, in a quarter of the time of erfc."""
    y = 4.0 / (4.0 + x)
    at = y * _INTERVALS
    i = min(int(at), _INTERVALS - 1)
    u, value = 2.0 * (at - i) - 1.0, _ERFCX[i, 0]
    for d in range(1, _DEGREE + 1):
        value = value * u + _ERFCX[i, d]
    return value * y


@njit(cache=True, error_model="numpy")
def log_normal_cdf(x):  # type: ignore[no-untyped-def]
    """log Φ(x) and its derivative."""
    square, tail = 0.5 * x * x, scaled_tail(abs(x) / _ROOT_2)
    density = math.exp(-square)
    # Selected, not branched to: which sign comes next is beyond a processor's guess.
    negative = x <= 0.0
    mass = 0.5 * tail if negative else 1.0 - 0.5 * tail * density
    slope = 0.5 * _ROOT_2_OVER_PI * (1.0 if negative else density) / mass
    return math.log(mass) - (square if negative else 0.0), slope


@njit(cache=True, error_model="numpy")
def _between_below(high, low):  # type: ignore[no-untyped-def]
    """log(Φ(high) - Φ(low)), φ(high) and φ(low) over that probability, low < high ≤ 0: none of it underflows."""
    h, b = high / _ROOT_2, low / _ROOT_2
    ratio = math.exp(h * h - b * b)
    rest = scaled_tail(-h) - scaled_tail(-b) * ratio
    slope = _ROOT_2_OVER_PI / rest
    return math.log(0.5 * rest) - h * h, slope, slope * ratio


@njit(cache=True, error_model="numpy")
def between(above, below):  # type: ignore[no-untyped-def]
    """log(Φ(above) - Φ(below)), φ(above) and φ(below) over that probability."""
    if above <= 0.0:
        return _between_below(above, below)
    if below >= 0.0:
        value, b, a = _between_below(-below, -above)
        return value, a, b
    h, b = above / _ROOT_2, -below / _ROOT_2
    upper, lower = math.exp(-h * h), math.exp(-b * b)
    rest = 1.0 - 0.5 * (scaled_tail(h) * upper + scaled_tail(b) * lower)
    return math.log(rest), 0.5 * _ROOT_2_OVER_PI * upper / rest, 0.5 * _ROOT_2_OVER_PI * lower / rest


@njit(cache=True, error_model="numpy")
def binomial(y, size, eta):  # type: ignore[no-untyped-def]
    """log density of y successes of `size` trials with a probit link, up to a constant, and its derivative."""
    if size == 1.0:
        sign = 2.0 * y - 1.0
        value, rate = log_normal_cdf(sign * eta)
        return value, sign * rate
    value, slope = 0.0, 0.0
    if y > 0.0:
        log_p, rate = log_normal_cdf(eta)
        value, slope = y * log_p, y * rate
    if y < size:
        log_p, rate = log_normal_cdf(-eta)
        value += (size - y) * log_p
        slope -= (size - y) * rate
    return value, slope


@njit(cache=True, error_model="numpy")
def digamma(x):  # type: ignore[no-untyped-def]
    """Derivative of the logarithm of the gamma function, x > 0."""
    value = 0.0
    while x < 8.0:
        value -= 1.0 / x
        x += 1.0
    r = 1.0 / (x * x)
    series = r * (1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0))))
    return value + math.log(x) - 0.5 / x - series


@njit(cache=True, error_model="numpy")
def negative_binomial(y, eta, shape):  # type: ignore[no-untyped-def]
    """log density of a negative binomial count, and its derivatives by η and the shape."""
    excess = eta - math.log(shape)
    soft = max(excess, 0.0) + math.log1p(math.exp(-abs(excess)))
    q = math.exp(-soft)  # shape / (mean + shape)
    value = math.lgamma(y + shape) - math.lgamma(shape) + y * (excess - soft) - shape * soft
    by_shape = digamma(y + shape) - digamma(shape) - soft + 1.0 - (y + shape) * q / shape
    return value, y - (y + shape) * (1.0 - q), by_shape


@njit(cache=True, error_model="numpy")
def zero_inflated(y, eta, zeros):  # type: ignore[no-untyped-def]
    """log density of a count with extra zeros, and its derivatives by η and their share."""
    mu = math.exp(min(eta, _HIGHEST))
    if y > 0.0:
        return y * eta - mu + math.log1p(-zeros), y - mu, -1.0 / (1.0 - zeros)
    plain = math.exp(-mu)
    p = zeros + (1.0 - zeros) * plain
    return math.log(p), -mu * (1.0 - zeros) * plain / p, (1.0 - plain) / p


@njit(cache=True, error_model="numpy")
def record(family, y, size, eta, scale, cuts, t):  # type: ignore[no-untyped-def]
    """log density of a record, up to a constant; its derivatives by η, and by two numbers.

    These are the thresholds about an ordered record, or the bounds of a censored one, which are multiplied by a scale;
    or the one number of a family of counts.
    """
    if family == GAUSSIAN:
        return -0.5 * (y - eta) ** 2, y - eta, 0.0, 0.0
    if family == PROBIT:
        value, slope = binomial(y, size, eta)
        return value, slope, 0.0, 0.0
    if family == LOGIT:
        value = y * eta - size * (max(eta, 0.0) + math.log1p(math.exp(-abs(eta))))
        return value, y - size / (1.0 + math.exp(-eta)), 0.0, 0.0
    if family == POISSON:
        mu = math.exp(min(eta, _HIGHEST))
        return y * eta - mu, y - mu, 0.0, 0.0
    if family == NEGATIVE_BINOMIAL:
        value, slope, by_shape = negative_binomial(y, eta, cuts[t, 0])
        return value, slope, by_shape, 0.0
    if family == ZERO_INFLATED:
        value, slope, by_zeros = zero_inflated(y, eta, cuts[t, 0])
        return value, slope, by_zeros, 0.0
    if family == CENSORED:
        if y == size:
            return -0.5 * eta * eta, -eta, 0.0, 0.0
        value, above, below = between(scale * y - eta, scale * size - eta)
        return value, below - above, above, -below
    value, above, below = between(scale * cuts[t, int(y)] - eta, scale * cuts[t, int(y) - 1] - eta)
    return value, below - above, above, -below


@njit(cache=True, error_model="numpy")
def add_by_numbers(family, y, size, scale, by, cuts, by_cuts):  # type: ignore[no-untyped-def]
    """Add the derivatives by thresholds, or the number of a family; that by the scale of thresholds or bounds."""
    above, below = by
    by_scale = 0.0
    if family == ORDERED:
        for score, slope in ((int(y), above), (int(y) - 1, below)):
            if slope != 0.0:
                by_cuts[score] += slope * scale
                by_scale += slope * cuts[score]
    elif family == CENSORED:
        for bound, slope in ((y, above), (size, below)):
            if slope != 0.0:
                by_scale += slope * bound
    elif family in (NEGATIVE_BINOMIAL, ZERO_INFLATED):
        by_cuts[0] += above
    return by_scale


@njit(cache=True, error_model="numpy")
def joint(s, numbers, indptr, column, prior, scale_of, squares, records, traits, latent, by):  # type: ignore[no-untyped-def]
    """Log density of records y given s, and of s, up to a constant; derivatives are written to `by`.

    Parameters
    ----------
    s
        Unknowns (q,).
    numbers, indptr, column
        Rows of A; see :class:`~bayesmv.likelihood.latent.predictor.Predictor`.
    prior
        CSR arrays of the precision of s.
    scale_of, squares
        Group of each unknown, and by how much its prior precision is multiplied, group by group.
    records
        y or upper bound, number of trials or lower bound, trait, and place of the record's own number among those of
        the conditioning, (N,) each.
    traits
        Family's number (t,), numbers of the conditioning, cuts (t, categories + 1), infinite at both ends.
    latent
        Latent values where s is 0, (N,); overwritten by the derivatives by latent values.
    by
        Derivatives by s (q,), numbers (slots,), squares, numbers of the conditioning and cuts, set to 0 before.
    """
    y, size, trait_of, own = records
    family, mixing, cuts = traits
    pointer, index, data = prior
    by_s, by_numbers, by_squares, by_mixing, by_cuts = by
    value = 0.0
    for i in range(len(s)):
        inner = 0.0
        for p in range(pointer[i], pointer[i + 1]):
            inner += data[p] * s[index[p]]
        value -= 0.5 * squares[scale_of[i]] * s[i] * inner
        by_squares[scale_of[i]] -= 0.5 * s[i] * inner
        by_s[i] = -squares[scale_of[i]] * inner
    for r in range(len(y)):
        eta, t = latent[r], trait_of[r]
        for a in range(indptr[r], indptr[r + 1]):
            eta += numbers[a] * s[column[a]]
        of_record, g, above, below = record(family[t], y[r], size[r], eta, mixing[own[r]], cuts, t)
        value += of_record
        latent[r] = g
        scale, by_own = mixing[own[r]], (above, below)
        by_mixing[own[r]] += add_by_numbers(family[t], y[r], size[r], scale, by_own, cuts[t], by_cuts[t])
        for a in range(indptr[r], indptr[r + 1]):
            by_s[column[a]] += g * numbers[a]
            by_numbers[a] = g * s[column[a]]
    return value


@njit(cache=True, error_model="numpy")
def along(x, axes, nodes):  # type: ignore[no-untyped-def]
    """Cubic Hermite values and slopes at x of functions tabulated on even nodes, constant beyond them.

    Parameters
    ----------
    x
        Coordinates along the directions of the tables, (d,).
    axes
        Direction, first node, distance and number of nodes of each function, (functions, 4).
    nodes
        Values at the nodes, (functions, most nodes).
    """
    value, slope = np.empty(len(axes)), np.zeros(len(axes))
    for m in range(len(axes)):
        n = int(axes[m, 3])
        u = (x[int(axes[m, 0])] - axes[m, 1]) / axes[m, 2]
        if u <= 0.0 or u >= n - 1:
            value[m] = nodes[m, 0 if u <= 0.0 else n - 1]
            continue
        i = int(u)
        f, a, b = u - i, nodes[m, i], nodes[m, i + 1]
        left = 0.5 * (b - nodes[m, i - 1]) if i > 0 else 0.0
        right = 0.5 * (nodes[m, i + 2] - a) if i + 2 < n else 0.0
        value[m] = (2 * f**3 - 3 * f * f + 1) * a + (f**3 - 2 * f * f + f) * left
        value[m] += (3 * f * f - 2 * f**3) * b + (f**3 - f * f) * right
        slope[m] = 6 * (f * f - f) * (a - b) + (3 * f * f - 4 * f + 1) * left + (3 * f * f - 2 * f) * right
        slope[m] /= axes[m, 2]
    return value, slope


@njit(cache=True, fastmath=FAST, error_model="numpy")
def solve_transposed(pointer, row, entry, inverse, x):  # type: ignore[no-untyped-def]
    """Solution of L'z = x in its place; columns of L below the diagonal, and one over that."""
    for j in range(len(x) - 1, -1, -1):
        total = x[j]
        for p in range(pointer[j], pointer[j + 1]):
            total -= entry[p] * x[row[p]]
        x[j] = total * inverse[j]


@njit(cache=True, fastmath=FAST, error_model="numpy")
def times_transposed(pointer, row, entry, inverse, x):  # type: ignore[no-untyped-def]
    """Product L'x."""
    out = x / inverse
    for j in range(len(x)):
        for p in range(pointer[j], pointer[j + 1]):
            out[j] += entry[p] * x[row[p]]
    return out


@njit(cache=True, fastmath=FAST, error_model="numpy")
def solve_forward(pointer, row, entry, inverse, x):  # type: ignore[no-untyped-def]
    """Solution of L z = x in its place."""
    for j in range(len(x)):
        x[j] *= inverse[j]
        for p in range(pointer[j], pointer[j + 1]):
            x[row[p]] -= entry[p] * x[j]


@njit(cache=True, error_model="numpy")
def unknowns(w, weights, tables, factor, maps, layout):  # type: ignore[no-untyped-def]
    """Unknowns s, G, exp(-κ), exp(-κ) w, and the sum of κ, at w; see the head of :mod:`.latent`."""
    G0, of_G, of_kappa = tables
    pointer, row, entry, inverse, position = factor
    T, ratio = maps
    first, sizes, drawn_trait = layout
    q = len(G0)
    G, shrink, scaled, total = G0.copy(), np.empty(q), np.empty(q), 0.0
    for i in range(q):
        for m in range(of_G.shape[1]):
            G[i] += of_G[i, m] * weights[0][m]
        kappa = 0.0
        for m in range(of_kappa.shape[1]):
            kappa += of_kappa[i, m] * weights[1][m]
        total += kappa
        shrink[i] = math.exp(-kappa)
        scaled[i] = shrink[i] * w[i]
    solved = scaled.copy()
    solve_transposed(pointer, row, entry, inverse, solved)
    s = np.empty(q)
    for i in range(first[0]):
        s[i] = G[i] + solved[position[i]]
    for k in range(len(sizes)):
        m = sizes[k]
        for begin in range(first[k], first[k + 1], m):
            for j in range(m):
                moved = 0.0
                for e in range(m):
                    moved += G[begin + e] * T[k, e, j]
                s[begin + j] = moved + solved[position[begin + j]]
    for r in range(len(drawn_trait)):
        i = first[-1] + r
        s[i] = G[i] * ratio[drawn_trait[r]] + solved[position[i]]
    return s, G, shrink, scaled, total


@njit(cache=True, error_model="numpy")
def carried_back(by_s, G, shrink, scaled, tables, factor, maps, layout, crosses):  # type: ignore[no-untyped-def]
    """Gradients by w and by the weights of the tables; sums of G g' of every term are added to `crosses`."""
    _, of_G, of_kappa = tables
    pointer, row, entry, inverse, position = factor
    T, ratio = maps
    first, sizes, drawn_trait = layout
    of_terms, of_drawn = crosses
    q = len(by_s)
    by_G, back = np.empty(q), np.empty(q)
    for i in range(q):
        back[position[i]] = by_s[i]
    solve_forward(pointer, row, entry, inverse, back)
    for i in range(first[0]):
        by_G[i] = by_s[i]
    for k in range(len(sizes)):
        m = sizes[k]
        for begin in range(first[k], first[k + 1], m):
            for e in range(m):
                by_G[begin + e] = 0.0
                for j in range(m):
                    by_G[begin + e] += by_s[begin + j] * T[k, e, j]
                    of_terms[k, e, j] += G[begin + e] * by_s[begin + j]
    for r in range(len(drawn_trait)):
        i = first[-1] + r
        by_G[i] = by_s[i] * ratio[drawn_trait[r]]
        of_drawn[drawn_trait[r]] += G[i] * by_s[i]
    by_w, through = np.empty(q), np.empty(q)
    for i in range(q):
        by_w[i] = back[i] * shrink[i]
        through[i] = 1.0 + back[i] * scaled[i]
    return by_w, projected(of_G, by_G), projected(of_kappa, through)


@njit(cache=True)
def projected(basis, by):  # type: ignore[no-untyped-def]
    """Products of the columns of a basis (q, m) with `by` (q,)."""
    out = np.zeros(basis.shape[1])
    for i in range(len(by)):
        for m in range(basis.shape[1]):
            out[m] += basis[i, m] * by[i]
    return out


@njit(cache=True)
def numbers_of(joined, mixing, slot, weight, entry, mix, slots):  # type: ignore[no-untyped-def]
    """A at factors and numbers of the conditioning, slot by slot."""
    out = np.zeros(slots)
    for p in range(len(slot)):
        out[slot[p]] += weight[p] * joined[entry[p]] * mixing[mix[p]]
    return out


@njit(cache=True)
def gathered(by_numbers, joined, mixing, slot, weight, entry, mix):  # type: ignore[no-untyped-def]
    """Derivatives by factors and numbers of the conditioning of what depends on A."""
    by_flat, by_mixing = np.zeros(len(joined)), np.zeros(len(mixing))
    for p in range(len(slot)):
        by_term = weight[p] * by_numbers[slot[p]]
        by_flat[entry[p]] += by_term * mixing[mix[p]]
        by_mixing[mix[p]] += by_term * joined[entry[p]]
    return by_flat, by_mixing


@njit(cache=True)
def offset_of(given, mixing, row, source, mix):  # type: ignore[no-untyped-def]
    """Latent values where s is 0, (N,)."""
    out = np.zeros(len(given))
    for p in range(len(row)):
        out[row[p]] += mixing[mix[p]] * given[source[p]]
    return out


@njit(cache=True)
def pairs_gathered(by_latent, given, row, source, mix, by_mixing):  # type: ignore[no-untyped-def]
    """Add the derivatives by numbers of the conditioning of what depends on those latent values."""
    for p in range(len(row)):
        by_mixing[mix[p]] += by_latent[row[p]] * given[source[p]]


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate(theta, R, x, w, shape, static):  # type: ignore[no-untyped-def]
    """Log density at a point but for the prior of θ and the Jacobian of its coordinates, and its derivatives.

    Parameters
    ----------
    theta, R
        Parameters (d,) and residual covariances (t, t), at x.
    x, w
        Coordinates of θ and of distances of thresholds (size,), and of the unknowns (q,).
    shape
        See :class:`~bayesmv.posterior.latent_places.Shape`.
    static
        Tables with their axes, factor, layout, terms of A, pairs of records, what is given of them, precision, groups,
        records, families, and the middle of x with the directions of the tables: arrays that no evaluation changes.

    Returns
    -------
    tuple
        Value; derivatives by w, by x with θ and R held, by θ and by R.
    """
    axes_G, nodes_G, axes_kappa, nodes_kappa, tables, factor, layout, predictor, pairs, given, prior, group = static[
        :12
    ]
    records, families, centre, dual = static[12:]
    indptr, column, slot, weight, entry, mix = predictor
    row, source, pair_mix = pairs
    d = len(x) - shape.gaps[:, 0].sum()
    place = placed(theta, R, x[d:], shape)
    mixing, cuts = place[2], cuts_of(place, shape)
    joined, centred, squares, T, ratio = in_predictor(place, shape)
    at = affine(np.zeros(len(x)), dual, x - centre)
    of_G, d_G = along(at, axes_G, nodes_G)
    of_kappa, d_kappa = along(at, axes_kappa, nodes_kappa)
    maps = (T, ratio)
    s, G, shrink, scaled, kappa = unknowns(w, (of_G, of_kappa), tables, factor, maps, layout)
    numbers = numbers_of(joined, centred, slot, weight, entry, mix, len(column))
    latent = offset_of(given, mixing, row, source, pair_mix)
    by_s, by_numbers, by_squares = np.zeros(len(s)), np.zeros(len(column)), np.zeros(len(squares))
    by_mixing, by_cuts = np.zeros(len(mixing)), np.zeros(cuts.shape)
    by = (by_s, by_numbers, by_squares, by_mixing, by_cuts)
    traits = (families, mixing, cuts)
    value = joint(s, numbers, indptr, column, prior, group, squares, records, traits, latent, by) - kappa
    value += of_place(place, squares, shape) - 0.5 * (x[d:] ** 2).sum()
    by_joined, by_centred = gathered(by_numbers, joined, centred, slot, weight, entry, mix)
    pairs_gathered(latent, given, row, source, pair_mix, by_mixing)
    crosses, drawn_crosses = np.zeros(T.shape), np.zeros(len(ratio))
    by_w, by_moved, by_kappa = carried_back(
        by_s, G, shrink, scaled, tables, factor, maps, layout, (crosses, drawn_crosses)
    )
    by_theta, by_R, by_x = np.empty(len(theta)), np.empty(R.shape), np.zeros(len(x))
    by_place = (by_joined, by_centred, by_mixing, by_squares, by_cuts, crosses, drawn_crosses)
    pulled(place, squares, shape, by_place, by_theta, by_R, by_x[d:])
    by_x[d:] -= x[d:]
    by_at = np.zeros(len(x))
    for m in range(len(axes_G)):
        by_at[int(axes_G[m, 0])] += by_moved[m] * d_G[m]
    for m in range(len(axes_kappa)):
        by_at[int(axes_kappa[m, 0])] -= by_kappa[m] * d_kappa[m]
    for k in range(len(x)):
        for i in range(len(x)):
            by_x[i] += dual[k, i] * by_at[k]
    return value, by_w, by_x, by_theta, by_R


@njit(cache=True, error_model="numpy")
def keep(theta, R, x, w, wanted, shape, static, out):  # type: ignore[no-untyped-def]
    """Write x, fixed effects and the effects that are wanted, in working units, to `out`.

    Parameters
    ----------
    theta, R, x, w, shape, static
        As for `evaluate`.
    wanted
        Trait of every fixed effect; term, and first unknown, of every level that is wanted.
    out
        x, fixed effects, and the effects of one level after another.
    """
    trait, term, first = wanted
    axes_G, nodes_G, axes_kappa, nodes_kappa, tables, factor, layout = static[:7]
    place = placed(theta, R, x[len(x) - shape.gaps[:, 0].sum() :], shape)
    F, c, spread = place[0], place[3], place[4]
    at = affine(np.zeros(len(x)), static[-1], x - static[-2])
    weights = (along(at, axes_G, nodes_G)[0], along(at, axes_kappa, nodes_kappa)[0])
    s = unknowns(w, weights, tables, factor, in_predictor(place, shape)[3:], layout)[0]
    out[: len(x)] = x
    for i in range(len(trait)):
        out[len(x) + i] = s[i] * spread[trait[i]]
    begin = len(x) + len(trait)
    for r in range(len(term)):
        m = shape.sizes[term[r]]
        for e in range(m):
            out[begin + e] = 0.0
            for j in range(m):
                out[begin + e] += F[term[r], e, j] * c[term[r], j] * s[first[r] + j]
        begin += m

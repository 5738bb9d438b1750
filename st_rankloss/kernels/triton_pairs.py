r"""What the Triton kernels share: a pair's kernel and its derivatives, compensated sums, and interpolation.

A pair costs no exponential where the range of a query's similarities is below `NARROW` temperatures, since with an
origin c amid the range

    e^{(s_k - s_j)/τ} = e^{(s_k - c)/τ} e^{(c - s_j)/τ}

needs one per document. Exponents are in base 2 and carry their rounding errors, which at 40 temperatures would show in
float32. Wider ranges take the exponential of each pair, of a negative number, which cannot overflow.
"""

from __future__ import annotations

from st_rankloss._extras import require

triton = require("triton", "triton", purpose="method='triton'")
tl = require("triton.language", "triton", purpose="method='triton'")

NARROW = tl.constexpr(80.0)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def exact_rate(rate_high, rate_low, dtype: tl.constexpr):
    """Return log2(e)/τ, which arrives as two float32 numbers, the first of 12 bits."""
    return tl.cast(rate_high, dtype) + tl.cast(rate_low, dtype)


@triton.jit
def at_zero(ORDER: tl.constexpr):
    """Return what a document would add to its own sum: the kernel at 0."""
    return LN2 if ORDER == 0 else 0.5


@triton.jit
def power(value, origin, rate_high, rate_low):
    """Return 2^(rate · (value - origin)), at most 2^±126, without the rounding errors of the exponent."""
    rate = exact_rate(rate_high, rate_low, value.dtype)
    gap = value - origin
    exponent = gap * rate
    if value.dtype == tl.float32:
        back = value - gap
        lost = (value - (gap + back)) + (back - origin)
        high = (gap.to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)
        low = gap - high
        rest = ((high * rate_high - exponent) + high * rate_low + low * rate_high) + (low * rate_low + lost * rate)
    else:
        rest = tl.zeros_like(exponent)
    exponent = tl.minimum(tl.maximum(exponent, -126.0), 126.0)
    rest = tl.minimum(tl.maximum(rest, -1.0), 1.0)
    return tl.exp2(exponent) * (1 + LN2 * rest)


@triton.jit
def log_of_1_plus(odds, inverse):
    """Return log(1 + odds), precise where odds is small, from odds and 1/(1 + odds)."""
    whole = 1 + odds
    return tl.log(whole) + (odds - (whole - 1)) * inverse


@triton.jit
def compare(scaled, odds, narrow, ORDER: tl.constexpr):
    """Return σ(x), 1 - σ(x) and, for order 0, softplus(x).

    Args:
        scaled: x in base 2, x log2(e), which is read if not ``narrow``.
        odds: e^x, which is read if ``narrow``.
        narrow: Whether e^x cannot overflow.
        ORDER: The order that is wanted.
    """
    if narrow:
        behind = 1 / (1 + odds)
        ahead = odds * behind
        soft = log_of_1_plus(odds, behind) if ORDER == 0 else ahead
    else:
        fewer = tl.exp2(-tl.abs(scaled))
        more = 1 / (1 + fewer)
        ahead = tl.where(scaled >= 0, more, fewer * more)
        behind = tl.where(scaled >= 0, fewer * more, more)
        soft = tl.maximum(scaled * LN2, 0.0) + log_of_1_plus(fewer, more) if ORDER == 0 else ahead
    return ahead, behind, soft


@triton.jit
def derivative(ahead, behind, soft, ORDER: tl.constexpr):
    """Return the derivative of softplus of order 0 to 5, a polynomial of σ and 1 - σ from the second on."""
    slope = ahead * behind
    if ORDER == 0:
        value = soft
    elif ORDER == 1:
        value = ahead
    elif ORDER == 2:
        value = slope
    elif ORDER == 3:
        value = slope * (behind - ahead)
    elif ORDER == 4:
        value = slope * (1 - 6 * slope)
    else:
        value = slope * (behind - ahead) * (1 - 12 * slope)
    return value


@triton.jit
def add(total, excess, term):
    """Add a term to a sum by Kahan's method: return the sum and what it is too large by."""
    term = term - excess
    larger = total + term
    return larger, (larger - total) - term


@triton.jit
def close(total, excess):
    """Add up the lanes of compensated sums over the last axis, in float64."""
    return tl.sum(total.to(tl.float64) - excess.to(tl.float64), axis=1).to(total.dtype)


@triton.jit
def sums_at(
    targets,
    sources,
    masses,
    slots,
    size,
    middle,
    narrow,
    rate_high,
    rate_low,
    SIGN: tl.constexpr,
    ORDER: tl.constexpr,
    TERMS: tl.constexpr,
    LISTED: tl.constexpr,
    FEW: tl.constexpr,
    TILE: tl.constexpr,
):
    """Return Σ_k m_k K^(n)(±(s_k - t)/τ) for some targets t and n < ``TERMS``, the derivatives K^(n) of the kernel.

    Args:
        targets: t, shape ``(FEW,)``.
        sources: Points to s_k of the query.
        masses: Points to m_k of the query, at ``slots`` if ``LISTED``.
        slots: Points to the places of the masses.
        size: Number of sources.
        middle: The origin of exponents.
        narrow: Whether exponentials of single documents cannot overflow.
        rate_high: See `exact_rate`.
        rate_low: See `exact_rate`.
        SIGN: 1 if the kernel counts sources ahead of targets, -1 if it counts targets ahead of sources.
        ORDER: The order of the first derivative.
        TERMS: Number of derivatives.
        LISTED: Whether the masses are at ``slots``.
        FEW: Number of targets.
        TILE: Number of sources at once.
    """
    none = tl.zeros((FEW, TILE), dtype=targets.dtype)
    sum0, sum1, sum2, sum3, sum4 = none, none, none, none, none
    off0, off1, off2, off3, off4 = none, none, none, none, none
    rate = exact_rate(rate_high, rate_low, targets.dtype)
    down = power(targets, middle, -SIGN * rate_high, -SIGN * rate_low)
    for start in range(0, size, TILE):
        k = start + tl.arange(0, TILE)
        inside = k < size
        source = tl.load(sources + k, mask=inside, other=middle)
        if LISTED:
            mass = tl.load(masses + tl.load(slots + k, mask=inside, other=0), mask=inside, other=0.0)
        else:
            mass = tl.load(masses + k, mask=inside, other=0.0)
        up = power(source, middle, SIGN * rate_high, SIGN * rate_low)
        scaled = SIGN * (source[None, :] - targets[:, None]) * rate
        ahead, behind, soft = compare(scaled, up[None, :] * down[:, None], narrow, ORDER)
        sum0, off0 = add(sum0, off0, mass[None, :] * derivative(ahead, behind, soft, ORDER))
        sum1, off1 = add(sum1, off1, mass[None, :] * derivative(ahead, behind, soft, ORDER + 1))
        if TERMS > 2:
            sum2, off2 = add(sum2, off2, mass[None, :] * derivative(ahead, behind, soft, ORDER + 2))
            sum3, off3 = add(sum3, off3, mass[None, :] * derivative(ahead, behind, soft, ORDER + 3))
        if TERMS > 4:
            sum4, off4 = add(sum4, off4, mass[None, :] * derivative(ahead, behind, soft, ORDER + 4))
    return close(sum0, off0), close(sum1, off1), close(sum2, off2), close(sum3, off3), close(sum4, off4)


@triton.jit
def blend(near, slope, second, third, u, step):
    """Return one end's share in the polynomial of degree 7 that has given derivatives at both ends of a cell.

    Args:
        near: The value at that end.
        slope: The first derivative there.
        second: The second.
        third: The third.
        u: The distance from that end, in cells.
        step: The width of a cell, below 0 at its right end.
    """
    a = u * step
    terms = near * (1 + u * (4 + u * (10 + 20 * u)))
    terms += a * (slope * (1 + u * (4 + 10 * u)) + a * (second * (0.5 + 2 * u) + a * third * (1 / 6)))
    rest = (1 - u) * (1 - u)
    return terms * rest * rest


@triton.jit
def interpolate(nodes, at, stride, u, step, inside, FIRST: tl.constexpr):
    """Return a sum in between two nodes, which have its derivatives from the ``FIRST`` on.

    Args:
        nodes: Points to the sums of the query, ``(terms, nodes)``.
        at: The number of the left node.
        stride: The distance of terms.
        u: The distance from it in cells.
        step: The width of a cell in the unit of the derivatives, with their sign.
        inside: Which documents to read.
        FIRST: The order of the sum, counted from that of the nodes.
    """
    at = nodes + FIRST * stride + at
    left0 = tl.load(at, mask=inside, other=0.0)
    left1 = tl.load(at + stride, mask=inside, other=0.0)
    left2 = tl.load(at + 2 * stride, mask=inside, other=0.0)
    left3 = tl.load(at + 3 * stride, mask=inside, other=0.0)
    right0 = tl.load(at + 1, mask=inside, other=0.0)
    right1 = tl.load(at + stride + 1, mask=inside, other=0.0)
    right2 = tl.load(at + 2 * stride + 1, mask=inside, other=0.0)
    right3 = tl.load(at + 3 * stride + 1, mask=inside, other=0.0)
    return blend(left0, left1, left2, left3, u, step) + blend(right0, right1, right2, right3, 1 - u, -step)

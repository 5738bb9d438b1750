"""Triton kernels for the documents that need a sum: list them on the device, and sum over exactly as many.

The host never learns how many documents of a query are listed: programs read the count and loop that often.
"""

from __future__ import annotations

from st_rankloss._extras import require
from st_rankloss.kernels.triton_pairs import (
    LN2,
    NARROW,
    add,
    at_zero,
    compare,
    derivative,
    exact_rate,
    interpolate,
    power,
    sums_at,
)

triton = require("triton", "triton", purpose="method='triton'")
tl = require("triton.language", "triton", purpose="method='triton'")


@triton.jit
def list_documents(
    similarity,
    columns,
    listed,
    listed_values,
    slots,
    counts,
    moments,
    documents,
    ranked,
    column_row,
    column_step,
    rate_high,
    rate_low,
    BLOCK: tl.constexpr,
):
    """Move the listed documents of a query to the front, and find the middle, mean and range of all; one program each.

    Args:
        similarity: ``(Q, D)``.
        columns: Documents that may be listed, ``(Q, P)``, with the strides ``column_row`` and ``column_step``.
        listed: Whether they are, ``(Q, P)``, uint8.
        listed_values: Receives the similarities of the listed, ``(Q, P)``.
        slots: Receives their places in ``columns``, ``(Q, P)``.
        counts: Receives their number, ``(Q,)``.
        moments: Receives the middle, the mean, and 1 if the range is narrow, ``(Q, 3)``.
        documents: D.
        ranked: P.
        column_row: Stride of ``columns`` from query to query.
        column_step: Stride of ``columns`` from document to document.
        rate_high: See `exact_rate`.
        rate_low: See `exact_rate`.
        BLOCK: Documents at once.
    """
    query = tl.program_id(0).to(tl.int64)
    similarity += query * documents
    listed += query * ranked
    lanes = tl.arange(0, BLOCK)

    first = tl.load(similarity)
    low = tl.zeros((BLOCK,), dtype=first.dtype) + first
    high = low
    rise = low - low
    for start in range(0, documents, BLOCK):
        k = start + lanes
        value = tl.load(similarity + k, mask=k < documents, other=first)
        low = tl.minimum(low, value)
        high = tl.maximum(high, value)
        rise += (value - first) / documents
    least = tl.min(low, axis=0)
    most = tl.max(high, axis=0)
    range_of_all = (most - least) * exact_rate(rate_high, rate_low, first.dtype) * LN2
    tl.store(moments + 3 * query, least + 0.5 * (most - least))
    tl.store(moments + 3 * query + 1, first + tl.sum(rise, axis=0))
    tl.store(moments + 3 * query + 2, tl.where(range_of_all < NARROW, 1.0, 0.0).to(first.dtype))

    found = 0
    for start in range(0, ranked, BLOCK):
        p = start + lanes
        takes = tl.load(listed + p, mask=p < ranked, other=0).to(tl.int32)
        takes = tl.where(takes != 0, 1, 0)
        place = query * ranked + found + tl.cumsum(takes, axis=0) - 1
        column = tl.load(columns + query * column_row + p * column_step, mask=takes > 0, other=0)
        tl.store(listed_values + place, tl.load(similarity + column, mask=takes > 0, other=first), mask=takes > 0)
        tl.store(slots + place, p, mask=takes > 0)
        found += tl.sum(takes, axis=0)
    tl.store(counts + query, found)


@triton.jit
def sum_exactly(
    similarity,
    weights,
    columns,
    listed_values,
    slots,
    counts,
    node_counts,
    moments,
    totals,
    slopes,
    documents,
    ranked,
    column_row,
    column_step,
    rate_high,
    rate_low,
    ORDER: tl.constexpr,
    FEW: tl.constexpr,
    TILE: tl.constexpr,
):
    """Sum over the pairs of the listed documents of queries without nodes; programs (Q, n) share a query's."""
    query = tl.program_id(0).to(tl.int64)
    size = tl.where(tl.load(node_counts + query) > 0, 0, tl.load(counts + query))
    middle = tl.load(moments + 3 * query)
    narrow = tl.load(moments + 3 * query + 2) > 0
    for start in range(tl.program_id(1) * FEW, size, tl.num_programs(1) * FEW):
        p = start + tl.arange(0, FEW)
        inside = p < size
        target = tl.load(listed_values + query * ranked + p, mask=inside, other=middle)
        slot = tl.load(slots + query * ranked + p, mask=inside, other=0)
        total, slope, _, _, _ = sums_at(
            target,
            similarity + query * documents,
            weights + query * documents,
            slots,
            documents,
            middle,
            narrow,
            rate_high,
            rate_low,
            1,
            ORDER,
            2,
            False,
            FEW,
            TILE,
        )
        column = tl.load(columns + query * column_row + slot * column_step, mask=inside, other=0)
        weight = tl.load(weights + query * documents + column, mask=inside, other=0.0)
        tl.store(totals + query * ranked + slot, tl.maximum(total - at_zero(ORDER) * weight, 0.0), mask=inside)
        tl.store(slopes + query * ranked + slot, slope, mask=inside)


@triton.jit
def pull_documents(
    similarity,
    weights,
    listed_values,
    slots,
    counts,
    grad,
    moments,
    node_counts,
    node_slots,
    nodes,
    pulled,
    documents,
    ranked,
    most_nodes,
    window,
    cells,
    rate_high,
    rate_low,
    ORDER: tl.constexpr,
    FEW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute (v_k/τ) Σ_j g_j K'((s_k - s_j)/τ) for a tile of documents k, from nodes where there are; programs (Q, n).

    Writes every document, so that ``pulled`` need not be cleared.
    """
    query = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = k < documents
    middle = tl.load(moments + 3 * query)
    value = tl.load(similarity + query * documents + k, mask=inside, other=middle)
    rate = exact_rate(rate_high, rate_low, value.dtype)
    size = tl.load(counts + query)
    if tl.load(node_counts + query) > 0:
        mean = tl.load(moments + 3 * query + 1)
        cell = tl.floor(value * cells)
        number = (cell - tl.floor(mean * cells)).to(tl.int32) + window // 2
        at = tl.load(node_slots + query * window + number, mask=inside, other=0)
        pull = interpolate(
            nodes + query * 4 * most_nodes, at, most_nodes, value * cells - cell, rate * LN2 / cells, inside, 0
        )
    else:
        narrow = tl.load(moments + 3 * query + 2) > 0
        up = power(value, middle, rate_high, rate_low)
        pull = tl.zeros((BLOCK,), dtype=value.dtype)
        excess = pull
        for start in range(0, size, FEW):
            j = start + tl.arange(0, FEW)
            of_list = tl.load(listed_values + query * ranked + j, mask=j < size, other=middle)
            slot = tl.load(slots + query * ranked + j, mask=j < size, other=0)
            upstream = tl.load(grad + query * ranked + slot, mask=j < size, other=0.0)
            down = power(of_list, middle, -rate_high, -rate_low)
            scaled = (value[None, :] - of_list[:, None]) * rate
            ahead, behind, soft = compare(scaled, up[None, :] * down[:, None], narrow, ORDER + 1)
            terms = upstream[:, None] * derivative(ahead, behind, soft, ORDER + 1)
            pull, excess = add(pull, excess, tl.sum(terms, axis=0))
        pull -= excess
    weight = tl.load(weights + query * documents + k, mask=inside, other=0.0)
    tl.store(pulled + query * documents + k, weight * pull * (rate * LN2), mask=inside)


@triton.jit
def push_listed(
    columns,
    slots,
    counts,
    grad,
    slopes,
    pulled,
    documents,
    ranked,
    column_row,
    column_step,
    rate_high,
    rate_low,
    BLOCK: tl.constexpr,
):
    """Subtract (g_j/τ) Σ_k v_k K'((s_k - s_j)/τ) from the gradients of the listed documents j; programs (Q, n).

    The additions are atomic, in case a document is listed twice; their order, and so the last bit, could matter only if
    one is listed three times.
    """
    query = tl.program_id(0).to(tl.int64)
    size = tl.load(counts + query)
    for start in range(tl.program_id(1) * BLOCK, size, tl.num_programs(1) * BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < size
        slot = query * ranked + tl.load(slots + query * ranked + p, mask=inside, other=0)
        place = tl.load(slots + query * ranked + p, mask=inside, other=0) * column_step
        column = tl.load(columns + query * column_row + place, mask=inside, other=0)
        upstream = tl.load(grad + slot, mask=inside, other=0.0)
        push = upstream * tl.load(slopes + slot, mask=inside, other=0.0)
        push *= exact_rate(rate_high, rate_low, push.dtype) * LN2
        tl.atomic_add(pulled + query * documents + column, -push, mask=inside)

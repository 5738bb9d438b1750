r"""Triton kernels for sums that many documents of a query need: computed at nodes, and interpolated in between.

A sum over sources is a smooth function of the similarity at which it is read. So sum exactly, with four derivatives, at
the ends of the cells in which there are documents, and read every document from the polynomial of degree 7 that agrees
with three derivatives at both ends of its cell. A cell is a power of two wide, between 3/8 and 3/4 temperatures, so
that its ends are exact numbers; the polynomial errs by less than 3e-8 of a source's weight in a sum, and 1e-7 in its
slope.

Empty cells have no nodes, so neither outliers nor gaps cost anything. Cells lie in a window around the query's mean;
a query with documents outside, or with more than half as many nodes as documents, is summed exactly instead, which its
programs decide on their own.

There are no splines, no transform and no sums in shared memory: a GPU computes the few nodes that cosines need by brute
force, and always adds in the same order.
"""

from __future__ import annotations

from st_rankloss._extras import require
from st_rankloss.kernels.triton_pairs import LN2, at_zero, exact_rate, interpolate, sums_at

triton = require("triton", "triton", purpose="method='triton'")
tl = require("triton.language", "triton", purpose="method='triton'")


@triton.jit
def mark_nodes(
    values,
    sizes,
    moments,
    marks,
    blocked,
    row,
    window,
    cells,
    BLOCK: tl.constexpr,
):
    """Mark both ends of the cells in which there are documents; programs (Q, n) share a query's.

    Args:
        values: Where sums are read, ``(Q, row)``.
        sizes: Their number, 0 to skip the query, ``(Q,)``.
        moments: See `list_documents`.
        marks: Receives 1 at nodes in use, ``(Q, window)``, uint8.
        blocked: Receives 1 if a document lies outside the window, ``(Q,)``.
        row: Length of a row of ``values``.
        window: Number of possible nodes.
        cells: Cells per unit of similarity.
        BLOCK: Documents at once.
    """
    query = tl.program_id(0).to(tl.int64)
    size = tl.load(sizes + query)
    origin = tl.floor(tl.load(moments + 3 * query + 1) * cells)
    for start in range(tl.program_id(1) * BLOCK, size, tl.num_programs(1) * BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = k < size
        cell = tl.floor(tl.load(values + query * row + k, mask=inside, other=0.0) * cells)
        offset = cell - origin
        # Beyond 2^23 cells, a float32 would not hold the next number.
        near = (tl.abs(offset) < window // 2 - 1) & (tl.abs(cell) < 8388607.0)
        number = tl.where(near, offset, 0.0).to(tl.int32) + window // 2
        ones = tl.full((BLOCK,), 1, dtype=tl.uint8)
        tl.store(marks + query * window + number, ones, mask=inside & near)
        tl.store(marks + query * window + number + 1, ones, mask=inside & near)
        tl.store(blocked + query + 0 * number, ones.to(tl.int32), mask=inside & (near == 0))


@triton.jit
def list_nodes(
    sizes,
    moments,
    marks,
    blocked,
    positions,
    node_slots,
    node_counts,
    most_nodes,
    window,
    cells,
    BLOCK: tl.constexpr,
):
    """Number the marked nodes of a query, or decide that it has none; one program each.

    Args:
        sizes: Number of documents to read, ``(Q,)``.
        moments: See `list_documents`.
        marks: See `mark_nodes`.
        blocked: See `mark_nodes`.
        positions: Receives the similarities of the nodes, ``(Q, most_nodes)``.
        node_slots: Receives the number of each marked node, ``(Q, window)``.
        node_counts: Receives the number of nodes, ``(Q,)``: 0 where exact sums cost less.
        most_nodes: Nodes for which there is space.
        window: Number of possible nodes.
        cells: Cells per unit of similarity.
        BLOCK: Nodes at once.
    """
    query = tl.program_id(0).to(tl.int64)
    size = tl.load(sizes + query)
    found = 0
    if size > 0:
        origin = tl.floor(tl.load(moments + 3 * query + 1) * cells)
        for start in range(0, window, BLOCK):
            n = start + tl.arange(0, BLOCK)
            marked = tl.load(marks + query * window + n).to(tl.int32)
            place = found + tl.cumsum(marked, axis=0) - 1
            fits = (marked > 0) & (place < most_nodes)
            tl.store(node_slots + query * window + n, place, mask=fits)
            position = (n - window // 2).to(origin.dtype) + origin
            tl.store(positions + query * most_nodes + place, position / cells, mask=fits)
            found += tl.sum(marked, axis=0)
    pays = (found <= most_nodes) & (2 * found < size) & (tl.load(blocked + query) == 0)
    tl.store(node_counts + query, tl.where(pays, found, 0))


@triton.jit
def sum_at_nodes(
    sources,
    masses,
    slots,
    source_counts,
    moments,
    positions,
    node_counts,
    nodes,
    source_row,
    most_nodes,
    rate_high,
    rate_low,
    SIGN: tl.constexpr,
    ORDER: tl.constexpr,
    TERMS: tl.constexpr,
    LISTED: tl.constexpr,
    FEW: tl.constexpr,
    TILE: tl.constexpr,
):
    """Sum over the sources of a query at its nodes; programs (Q, n) share them. See `sums_at` for the arguments."""
    query = tl.program_id(0).to(tl.int64)
    count = tl.load(node_counts + query)
    size = tl.load(source_counts + query) if LISTED else source_row
    middle = tl.load(moments + 3 * query)
    narrow = tl.load(moments + 3 * query + 2) > 0
    for start in range(tl.program_id(1) * FEW, count, tl.num_programs(1) * FEW):
        n = start + tl.arange(0, FEW)
        inside = n < count
        sum0, sum1, sum2, sum3, sum4 = sums_at(
            tl.load(positions + query * most_nodes + n, mask=inside, other=middle),
            sources + query * source_row,
            masses + query * source_row,
            slots + query * source_row,
            size,
            middle,
            narrow,
            rate_high,
            rate_low,
            SIGN,
            ORDER,
            TERMS,
            LISTED,
            FEW,
            TILE,
        )
        at = nodes + query * TERMS * most_nodes + n
        tl.store(at, sum0, mask=inside)
        tl.store(at + most_nodes, sum1, mask=inside)
        tl.store(at + 2 * most_nodes, sum2, mask=inside)
        tl.store(at + 3 * most_nodes, sum3, mask=inside)
        if TERMS > 4:
            tl.store(at + 4 * most_nodes, sum4, mask=inside)


@triton.jit
def read_listed(
    columns,
    weights,
    listed_values,
    slots,
    counts,
    moments,
    node_counts,
    node_slots,
    nodes,
    totals,
    slopes,
    documents,
    ranked,
    most_nodes,
    window,
    column_row,
    column_step,
    cells,
    rate_high,
    rate_low,
    ORDER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Read the sums and slopes of the listed documents from the nodes of queries that have some; programs (Q, n)."""
    query = tl.program_id(0).to(tl.int64)
    size = tl.where(tl.load(node_counts + query) > 0, tl.load(counts + query), 0)
    for start in range(tl.program_id(1) * BLOCK, size, tl.num_programs(1) * BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < size
        mean = tl.load(moments + 3 * query + 1)
        value = tl.load(listed_values + query * ranked + p, mask=inside, other=mean)
        slot = tl.load(slots + query * ranked + p, mask=inside, other=0)
        cell = tl.floor(value * cells)
        number = (cell - tl.floor(mean * cells)).to(tl.int32) + window // 2
        at = tl.load(node_slots + query * window + number, mask=inside, other=0)
        of_query = nodes + query * 5 * most_nodes
        # A document moves against the sources ahead of it, hence the sign.
        step = -exact_rate(rate_high, rate_low, value.dtype) * LN2 / cells
        total = interpolate(of_query, at, most_nodes, value * cells - cell, step, inside, 0)
        slope = interpolate(of_query, at, most_nodes, value * cells - cell, step, inside, 1)
        column = tl.load(columns + query * column_row + slot * column_step, mask=inside, other=0)
        weight = tl.load(weights + query * documents + column, mask=inside, other=0.0)
        tl.store(totals + query * ranked + slot, tl.maximum(total - at_zero(ORDER) * weight, 0.0), mask=inside)
        tl.store(slopes + query * ranked + slot, tl.maximum(slope, 0.0), mask=inside)

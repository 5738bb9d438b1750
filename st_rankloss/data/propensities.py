"""Which share of the users looks at each position, estimated from a click log."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

STEPS = 10_000
TOLERANCE = 1e-6

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


class _Cells(NamedTuple):
    """Clicks and impressions of documents at positions, numbered from 0."""

    documents: Places
    positions: Places
    clicks: Numbers
    impressions: Numbers

    def per_document(self, values: Numbers) -> Numbers:
        return np.bincount(self.documents, values).astype(np.float64)

    def per_position(self, values: Numbers) -> Numbers:
        return np.bincount(self.positions, values).astype(np.float64)


def estimate_propensities(
    documents: Iterable[Hashable],
    positions: Sequence[float],
    clicks: Sequence[float],
    impressions: Sequence[float] | None = None,
) -> dict[float, float]:
    r"""Estimate how much more often users examine the first position than each other one.

    In the position-based model, a user who sees document u at position k clicks it with probability
    :math:`\theta_k \gamma_u`: the user examines the position, and then finds the document attractive. Documents that
    were shown at several positions separate the two. With clicks c and impressions n per document and position, the
    estimate alternates

    .. math:: \gamma_u = \frac{\sum_k c_{uk}}{\sum_k n_{uk} \theta_k}, \qquad
        \theta_k = \frac{\sum_u c_{uk}}{\sum_u n_{uk} \gamma_u}

    until :math:`\theta` settles. Each step maximises the likelihood of Poisson counts with means
    :math:`n_{uk} \theta_k \gamma_u` exactly, so it never falls. Given its number of clicks, a document then tells only
    at which of its positions they fell; one that was shown at a single position has no influence, as it should. Both
    equations hold in expectation at the true :math:`\theta`, however rarely a document is shown, and whether clicks are
    counts or single events.

    Expectation-maximisation for clicks that are single events (Bernoulli) agrees if documents are shown often. If they
    are not, it explains a document's only impression, clicked, by :math:`\theta_k = \gamma_u = 1`, and overrates
    positions; Wang et al. avoid this by regressing :math:`\gamma` on features.

    Args:
        documents: What identifies the document of each row: a query and a document, since attraction depends on both.
        positions: Position of each row, at least 1.
        clicks: Number of clicks of each row, at least 0.
        impressions: Number of impressions of each row, at least the clicks; None means one per row.

    Returns:
        Examination by position, in order, relative to the first position of the log, which has 1.

    Raises:
        ValueError: If arguments differ in length, a number breaks its rule, or the log does not determine the
            estimate: positions must be connected by documents that were clicked at one and shown at the other.

    Example:
        >>> estimate_propensities(["a", "a", "b", "b"], [1, 2, 1, 2], [40, 20, 10, 5], [100, 100, 50, 50])
        {1.0: 1.0, 2.0: 0.5}

    Source: the position-based model, Craswell et al. (2008), "An experimental comparison of click position-bias
    models", and Chuklin et al. (2015), "Click models for web search"; its estimate from regular clicks by
    expectation-maximisation, Wang et al. (2018), "Position bias estimation for unbiased learning to rank in personal
    search"; from documents that rankers place differently, Agarwal et al. (2019), "Estimating position bias without
    intrusive interventions"; Poisson counts, Chen et al. (2009), "Factor modeling for advertisement targeting", here
    without their Gamma prior. The refusal of logs that do not determine the estimate is ours, by the condition of Ford
    (1957), "Solution of a ranking problem from binary comparisons". Time per step: linear in the rows.
    """
    cells, places = _read(documents, positions, clicks, impressions)
    _check_connected(cells, places)
    cells, theta = _informative(cells, len(places)), np.ones(len(places))
    if not len(cells.documents):  # of a single position
        return {float(places[0]): 1.0}
    for _ in range(STEPS):
        before, theta = theta, _step(cells, theta)
        if np.abs(theta / before - 1).max() < TOLERANCE:
            break
    else:
        logger.warning("The propensities have not settled after %d steps: few documents connect positions.", STEPS)
    return dict(zip(places.tolist(), theta.tolist(), strict=True))


def _informative(cells: _Cells, size: int) -> _Cells:
    """Leave out documents without clicks or at a single position: they move no estimate, but slow it down."""
    at = np.bincount(np.unique(cells.documents * size + cells.positions) // size)
    kept = ((at > 1) & (cells.per_document(cells.clicks) > 0))[cells.documents]
    documents = np.unique(cells.documents[kept], return_inverse=True)[1]
    return _Cells(documents, cells.positions[kept], cells.clicks[kept], cells.impressions[kept])


def _step(cells: _Cells, theta: Numbers) -> Numbers:
    gamma = cells.per_document(cells.clicks) / cells.per_document(cells.impressions * theta[cells.positions])
    theta = cells.per_position(cells.clicks) / cells.per_position(cells.impressions * gamma[cells.documents])
    scaled: Numbers = theta / theta[0]
    return scaled


def _read(
    documents: Iterable[Hashable],
    positions: Sequence[float],
    clicks: Sequence[float],
    impressions: Sequence[float] | None,
) -> tuple[_Cells, Numbers]:
    """Return the rows with impressions, and the positions that they number."""
    codes: dict[Hashable, int] = {}
    keys = np.array([codes.setdefault(document, len(codes)) for document in documents], dtype=np.int64)
    given = {"positions": positions, "clicks": clicks}
    numbers = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    numbers["impressions"] = np.ones(len(keys)) if impressions is None else np.asarray(impressions, dtype=np.float64)
    for name, values in numbers.items():
        if values.shape != keys.shape:
            raise ValueError(f"{name} must have one number per document, got {values.shape} for {len(keys)} documents.")
    _check(numbers["positions"], "positions", numbers["positions"] >= 1, "at least 1")
    _check(numbers["clicks"], "clicks", numbers["clicks"] >= 0, "at least 0")
    enough = numbers["impressions"] >= numbers["clicks"]
    _check(numbers["impressions"], "impressions", enough, "at least the clicks")
    seen = numbers["impressions"] > 0
    if not seen.any():
        raise ValueError("the log must have an impression, got none.")
    places, place = np.unique(numbers["positions"][seen], return_inverse=True)
    _, key = np.unique(keys[seen], return_inverse=True)
    return _Cells(key, place, numbers["clicks"][seen], numbers["impressions"][seen]), places


def _check(values: Numbers, name: str, valid: NDArray[np.bool_], rule: str) -> None:
    wrong = np.flatnonzero(~(valid & np.isfinite(values)))
    if len(wrong):
        raise ValueError(f"{name} must be numbers of {rule}, got {values[wrong[0]]:g} in row {wrong[0]}.")


def _check_connected(cells: _Cells, places: Numbers) -> None:
    """Refuse a log whose likelihood has no single maximum.

    A set of positions could be scaled up without loss if no document that is shown in it was clicked outside. There is
    none if each position leads to each other by a click here and an impression there (Ford, 1957).
    """
    clicked, shown = cells.clicks > 0, cells.impressions > 0
    joined = _reached(cells, clicked, shown, len(places)) & _reached(cells, shown, clicked, len(places))
    if not joined.all():
        apart = ", ".join(f"{place:g}" for place in places[~joined][:5])
        raise ValueError(
            "positions must be connected by documents that were clicked at one and shown at another to estimate their "
            f"propensities, got no such path in both directions between position {places[0]:g} and {apart}: shuffle "
            "results in a share of the sessions, group distant positions, or assume a propensity, such as eta."
        )


def _reached(cells: _Cells, leave: NDArray[np.bool_], enter: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return the positions to which documents lead from the first, leaving at some cells and entering at others."""
    found = np.zeros(size, dtype=bool)
    wider = found.copy()
    wider[0] = True
    while (wider != found).any():
        found = wider.copy()
        linked = np.zeros(cells.documents.max() + 1, dtype=bool)
        linked[cells.documents[leave & found[cells.positions]]] = True
        wider[cells.positions[enter & linked[cells.documents]]] = True
    return found

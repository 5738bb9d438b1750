"""Queries without a relevant document, and what to do about them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Literal, get_args

from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import few

logger = logging.getLogger(__name__)

NoRelevant = Literal["skip", "zero", "error"]


def without_relevant(
    queries: Collection[str],
    qrels: Mapping[str, Mapping[str, float]],
    relevance_level: float,
    no_relevant: NoRelevant,
) -> list[str]:
    """Find the queries without a relevant document.

    Args:
        queries: Query ids.
        qrels: Query id to document id to grade.
        relevance_level: Lowest grade that counts as relevant, above 0.
        no_relevant: What happens to such queries: "skip", "zero" or "error", which raises.

    Returns:
        Their ids, in the order of ``queries``.

    Raises:
        ValueError: If no query has a relevant document, or any has none and ``no_relevant`` is "error".

    Example:
        >>> without_relevant(["q1", "q2"], {"q1": {"d": 2}, "q2": {"d": 1}}, 2, "skip")
        ['q2']
    """
    check_choice(no_relevant, get_args(NoRelevant), "no_relevant")
    best = {query: max(qrels.get(query, {}).values(), default=0.0) for query in queries}
    found = [query for query, grade in best.items() if grade < relevance_level]
    rule = f"a document of grade {relevance_level:g} or above (relevance_level)"
    if len(found) == len(best):
        highest = max(best.values(), default=0.0)
        remedy = f"; the highest grade is {highest!r}" if highest else ""
        raise ValueError(f"at least one query must have {rule}, got none for {len(best)} queries{remedy}.")
    if found and no_relevant == "error":
        raise ValueError(f"every query must have {rule} with no_relevant='error', got none for {few(found)}.")
    if found:
        text = "%d of %d queries have no document of grade %g or above; no_relevant=%r applies to them."
        logger.warning(text, len(found), len(best), relevance_level, no_relevant)
    return found

"""How relevant documents are to queries, by their labels.

Each relevance is a small callable, ``relevance(query_labels, document_labels) -> (Q, D)``, which works on its own too.
Its values are at least 0, or NaN where unjudged. Any function of that form also works.
"""

from __future__ import annotations

from st_rankloss.relevance.base import UNJUDGED, CustomRelevance, Relevance, as_relevance
from st_rankloss.relevance.choice import choose_relevance
from st_rankloss.relevance.labels import Classes, Hierarchy, MultiLabel, Numeric, Vectors
from st_rankloss.relevance.lists import Lists, Pairs
from st_rankloss.relevance.qrels import Qrels, encode_ids
from st_rankloss.relevance.views import Views

__all__ = [
    "UNJUDGED",
    "Classes",
    "CustomRelevance",
    "Hierarchy",
    "Lists",
    "MultiLabel",
    "Numeric",
    "Pairs",
    "Qrels",
    "Relevance",
    "Vectors",
    "Views",
    "as_relevance",
    "choose_relevance",
    "encode_ids",
]

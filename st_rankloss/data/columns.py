"""Which column of a table is what: by the names that people give them, or by the names that the caller gives."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence

ROLES: Mapping[str, tuple[str, ...]] = {
    "query": (
        "query", "queries", "question", "anchor", "q", "search", "search_query", "search_term", "query_text", "topic",
        "keyword",
    ),
    "document": (
        "document", "documents", "passage", "passages", "doc", "docs", "text", "doc_text", "document_text",
        "passage_text", "candidate", "candidates", "positive", "answer", "answers", "response", "product",
        "product_description", "product_title", "product_name", "item", "content", "contents", "context", "body",
        "title",
    ),
    "grade": (
        "grade", "grades", "relevance", "rel", "relevance_label", "label", "labels", "score", "scores", "rating",
        "ratings", "judgment", "judgement", "gain", "relevancy", "relevance_score", "stars",
        "is_selected", "is_relevant", "relevant",
    ),
    "query_id": ("query_id", "qid", "queryid", "q_id", "topic_id", "query_no", "anchor_id"),
    "document_id": (
        "document_id", "document_ids", "doc_id", "doc_ids", "docid", "docids", "did", "docno", "corpus_id", "pid",
        "passage_id", "product_id", "product_uid", "item_id",
    ),
    "id": (
        "id", "document_id", "doc_id", "docid", "did", "docno", "pid", "product_id", "product_uid", "corpus_id",
        "query_id", "qid", "topic_id",
    ),
    "title": ("title", "heading", "name", "product_title", "product_name"),
    "topic": ("text", "query", "question", "title", "topic", "query_text", "search", "keyword", "description"),
    "weight": ("document_weight", "document_weights", "weight", "weights", "sample_weight", "importance"),
    "query_weight": ("query_weight", "query_weights"),
    "positive": (
        "chosen", "positive", "positives", "pos", "positive_passages", "positive_ctxs", "answer", "answers", "document",
        "documents", "passage", "passages", "doc", "response", "context",
    ),
    "negative": ("negative", "negatives", "neg", "hard_negative", "hard_negatives", "negative_passages",
                 "hard_negative_ctxs", "negative_ctxs", "rejected"),
    "sentence1": (
        "sentence1", "sentence_1", "sentence_a", "sent1", "sent_1", "text1", "text_1", "text_a", "s1", "premise",
        "question1", "question_1", "q1",
    ),
    "sentence2": (
        "sentence2", "sentence_2", "sentence_b", "sent2", "sent_2", "text2", "text_2", "text_b", "s2", "hypothesis",
        "question2", "question_2", "q2",
    ),
    "score": (
        "score", "similarity", "sim", "similarity_score", "label", "rating", "relatedness", "relatedness_score",
        "is_duplicate", "duplicate",
    ),
    "text": (
        "text", "sentence", "utterance", "content", "review", "body", "comment", "title", "description", "name",
        "product", "query", "question", "document", "tweet", "headline", "abstract", "message", "comment_text", "post",
        "ticket", "summary",
    ),
    "label": (
        "label", "labels", "class", "classes", "category", "categories", "intent", "intents", "tags", "target",
        "category_path", "emotion", "sentiment", "genre", "price", "score", "rating", "stars", "value",
    ),
    "image": ("image", "images", "image_path", "img", "img_path", "picture", "photo", "file_name", "filename", "file",
              "path"),
    "caption": ("caption", "captions", "alt", "alt_text", "description", "text", "title", "name"),
    "clicks": ("clicks", "click", "n_clicks", "num_clicks", "click_count", "clicked"),
    "impressions": ("impressions", "impression", "impr", "views", "shown", "displays", "exposures", "n_impressions"),
    "position": ("position", "rank", "avg_position", "average_position", "slot"),
}  # fmt: skip
"""Names of columns by what they hold, likeliest first; compared in lower case, with "_" for other signs."""

TEXT_ROLES = (
    "query", "document", "positive", "negative", "sentence1", "sentence2", "text", "image", "caption", "title", "topic",
    "query_id", "document_id", "id",
)  # fmt: skip
"""Roles whose columns stay text, even if every value looks like a number."""

_NUMBERED_NEGATIVE = re.compile(r"(hard_)?neg(ative)?_?\d+")
_STAY_TEXT = {name for role in TEXT_ROLES for name in ROLES[role]}


def normal(name: str) -> str:
    """Simplify a name for comparison.

    Args:
        name: Name of a column.

    Returns:
        The name in lower case, with single underscores for spaces and signs.

    Example:
        >>> normal("Query-ID"), normal("_id")
        ('query_id', 'id')
    """
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def stays_text(name: str) -> bool:
    """Return whether a column is named like texts or ids, whose digits are no numbers."""
    return normal(name) in _STAY_TEXT or bool(_NUMBERED_NEGATIVE.fullmatch(normal(name)))


def find(role: str, names: Sequence[str], *, taken: Collection[str] = (), called: str | None = None) -> str | None:
    """Return the column of a role, by its name.

    Args:
        role: One of `ROLES`.
        names: The columns there are.
        taken: Columns of other roles.
        called: The option that names the column; None means the role.

    Returns:
        The column with the likeliest name; None if no column has one of them.

    Raises:
        ValueError: If two columns have the same name but for case and signs.

    Example:
        >>> find("query_id", ["qid", "Passage Text"]), find("document", ["qid", "Passage Text"])
        ('qid', 'Passage Text')
    """
    free: dict[str, list[str]] = {}
    for name in names:
        if name not in taken:
            free.setdefault(normal(name), []).append(name)
    for synonym in ROLES[role]:
        if len(found := free.get(synonym, [])) > 1:
            role = called or role
            raise ValueError(f"the column of the {role} must be clear, got {found}: pass {role}= with one of them.")
        if found:
            return found[0]
    return None


def choose(
    names: Sequence[str],
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    given: Mapping[str, str | None] | None = None,
    called: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the column of each role.

    Args:
        names: The columns there are.
        required: Roles that must have a column, the most important first.
        optional: Roles that may have one.
        given: Columns by role, which win over any name.
        called: Options by the roles that are called otherwise, for errors.

    Returns:
        Columns by role; roles without a column are left out.

    Raises:
        ValueError: If a given column is missing, or a required role has no column; the error names those there are.

    Example:
        >>> choose(["frage", "passage", "rel"], required=["query", "document", "grade"], given={"query": "frage"})
        {'query': 'frage', 'document': 'passage', 'grade': 'rel'}
    """
    chosen = {role: name for role, name in (given or {}).items() if name is not None}
    option = {role: role for role in (*chosen, *required, *optional)} | dict(called or {})
    for role, name in chosen.items():
        check_column(name, names, option[role])
    for role in (*required, *optional):
        found = None if role in chosen else find(role, names, taken=chosen.values(), called=option[role])
        if found is not None:
            chosen[role] = found
    if missing := [role for role in required if role not in chosen]:
        free = [name for name in names if name not in chosen.values()]
        raise ValueError(_missing(missing[0], option[missing[0]], free, names))
    return chosen


def given_names(*columns: str | None) -> list[str]:
    """Return the names that the caller gave."""
    return [name for name in columns if name is not None]


def as_names(given: str | Sequence[str] | None) -> list[str]:
    """Return the names in an option that takes one column, several or none."""
    return [given] if isinstance(given, str) else list(given or ())


def describe(chosen: Mapping[str, str], names: Sequence[str]) -> str:
    """Describe which columns are what, and which are not read.

    Args:
        chosen: Columns by role.
        names: The columns there are.

    Returns:
        A note.

    Example:
        >>> describe({"query": "frage"}, ["frage", "prompt"])
        "query is 'frage'; not read: 'prompt'"
    """
    unread = [name for name in names if name not in chosen.values()]
    found = ", ".join(f"{role} is {name!r}" for role, name in chosen.items())
    return found + (f"; not read: {', '.join(map(repr, unread))}" if unread else "")


def without_description(names: Sequence[str]) -> str | None:
    """Return the column of documents for readers that join no titles: that of a product before its description."""
    return find("document", [name for name in names if normal(name) != "product_description"])


def check_column(name: str, names: Sequence[str], role: str) -> None:
    """Raise a ValueError that names the columns there are, and the nearest, unless ``name`` is one of them."""
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.5)
        remedy = f"; the nearest is {near[0]!r}" if near else ""
        raise ValueError(f"{role}={name!r} must be a column, got the columns {list(names)}{remedy}.")


def numbered_negatives(names: Sequence[str]) -> list[str]:
    """Find the columns ``negative_1``, ``negative_2`` and so on.

    Args:
        names: The columns there are.

    Returns:
        Their names, in the order of the table.

    Example:
        >>> numbered_negatives(["anchor", "negative_1", "negative_2", "negative"])
        ['negative_1', 'negative_2']
    """
    return [name for name in names if _NUMBERED_NEGATIVE.fullmatch(normal(name))]


def _missing(role: str, option: str, free: Sequence[str], names: Sequence[str]) -> str:
    if role in ("id", "query_id", "document_id"):  # texts and grades are none
        free = [name for name in free if {"id", "ids", "no", "nr", "number", "key"} & {*normal(name).split("_")}]
    words = {near: name for name in free for near in difflib.get_close_matches(normal(name), ROLES[role], 1, 0.75)}
    near = next(iter(words.values()), free[0] if len(free) == 1 else None)
    remedy = f"pass {option}={near!r}" if near else f"pass {option}= with the name of its column, or add it"
    return f"the table must have a column for the {option}, got the columns {list(names)}: {remedy}."

"""Read and check judgements, {query id: {document id: grade}}, and inputs by id.

Ids are strings or integers; an integer equals its decimal string, so 7 and "7" are the same id. A grade is a finite
number of at least 0, of any numeric type: 0 means judged irrelevant, and unjudged documents are left out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from numbers import Integral, Number, Real
from typing import Any

import numpy as np

from st_rankloss._host import infer_modality, is_message_dict
from st_rankloss.labels import is_missing, plain, row_name

Judgements = dict[str, dict[str, float]]
"""Validated grades by query id and document id."""


def read_id(value: Any, what: str = "an id") -> str:
    """Return an id as a string.

    Args:
        value: A string, or an integer of any type, which equals its decimal string.
        what: A description of the id, for the error.

    Returns:
        The string.

    Raises:
        ValueError: If it is anything else, such as None or 7.0.

    Example:
        >>> read_id(7)
        '7'
    """
    if isinstance(value, str):
        return value if type(value) is str else str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    remedy = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
    raise ValueError(f"{what} must be a string or an integer, got {value!r} ({type(value).__name__}){remedy}.")


def read_grade(value: Any, query: str, document: str, largest: float = sys.float_info.max) -> float:
    """Return a grade as a float.

    Args:
        value: A finite number of at least 0: int, float, bool, Decimal, Fraction or a scalar of numpy.
        query: Id of the query, for the error.
        document: Id of the document, for the error.
        largest: The largest value of the target type.

    Returns:
        The grade.

    Raises:
        ValueError: If the grade is invalid; the error says how to fix it.

    Example:
        >>> read_grade(3, "q1", "d1")
        3.0
    """
    if not isinstance(value, Real | Decimal | np.bool_):
        remedy = "convert it to a number first, with float(...)" if isinstance(value, str) else "give a number"
    else:
        try:
            grade = float(value)
        except (OverflowError, ValueError):  # an integer too large for a float, or a signalling NaN of decimal
            grade = math.inf
        if 0 <= grade <= largest:
            return grade
        if grade > largest:
            remedy = f"scale all grades down to at most {largest:.3g}"
        else:
            remedy = "write 0 for documents judged irrelevant" if grade < 0 else "leave unjudged documents out"
    raise ValueError(
        f"a grade in qrels must be a finite number of at least 0, got {value!r} ({type(value).__name__}) for query "
        f"{query!r}, document {document!r}; {remedy}."
    )


def read_qrels(
    qrels: Any,
    *,
    queries: Mapping[str, Any] | None = None,
    corpus: Mapping[str, Any] | None = None,
    may_be_empty: bool = False,
    largest: float = sys.float_info.max,
) -> Judgements:
    """Read judgements: a copy with ids as strings and grades as floats.

    Args:
        qrels: Query id to document id to grade.
        queries: The allowed query ids; None allows any.
        corpus: The allowed document ids; None allows any: the ideal ranking counts every judged document, as in
            trec_eval.
        may_be_empty: Whether judgements may be empty.
        largest: The largest grade that the caller's type can hold.

    Returns:
        The judgements, in their order.

    Raises:
        ValueError: If ids, grades or their layout are invalid; the error names the query, the document and the value.

    Example:
        >>> read_qrels({"q1": {"d1": 3, 17: 0.5}})
        {'q1': {'d1': 3.0, '17': 0.5}}
    """
    judgements = each_query(qrels, may_be_empty=may_be_empty, largest=largest)
    found = {query: dict(zip(documents, grades, strict=True)) for query, documents, grades in judgements}
    if queries is not None:
        _check_known(found, queries, "queries")
    if corpus is not None:
        _check_known((document for judged in found.values() for document in judged), corpus, "corpus")
    return found


def each_query(
    qrels: Any, *, may_be_empty: bool = False, largest: float = sys.float_info.max
) -> Iterator[tuple[str, list[str], list[float]]]:
    """Read judgements query by query, without a copy of them all.

    Args:
        qrels: As in `read_qrels`.
        may_be_empty: As in `read_qrels`.
        largest: As in `read_qrels`.

    Yields:
        tuple[str, list[str], list[float]]: A query id, its judged document ids, and their grades.

    Raises:
        ValueError: As `read_qrels`.

    Example:
        >>> list(each_query({"q1": {"d1": 3, 17: 0.5}}))
        [('q1', ['d1', '17'], [3.0, 0.5])]
    """
    if not isinstance(qrels, Mapping) or not (qrels or may_be_empty):
        kind = "an empty mapping" if isinstance(qrels, Mapping) else type(qrels).__name__
        rule = "a dict" if may_be_empty else "a non-empty dict"
        raise ValueError(f"qrels must be {rule} of query id to dict of document id to grade, got {kind}.")
    for query, judged in by_id(qrels, "a query id in qrels"):
        usual = isinstance(judged, dict) and _are_usual(judged, largest)
        grades = judged if usual else dict(_grades(query, judged, largest))
        yield query, list(grades), [*map(float, grades.values())]


def collect_qrels(rows: Iterable[tuple[int, Any, Any, Any]], found: Judgements | None = None) -> Judgements:
    """Read judgements from table rows.

    Args:
        rows: Number of the row, query id, document id and grade; a missing grade (None, NaN, an empty string) leaves
            the document unjudged.
        found: Judgements of other rows, to which these are added.

    Returns:
        The judgements, in the order of the rows.

    Raises:
        ValueError: If an id or a grade is invalid, or a document has two grades for one query; the error names the row.

    Example:
        >>> collect_qrels([(0, "q1", "d1", 3), (1, "q1", "d2", 0), (2, "q2", "d1", None)])
        {'q1': {'d1': 3.0, 'd2': 0.0}}
    """
    found = {} if found is None else found
    for row, query, document, value in rows:
        try:
            query, document = read_id(query, "a query id"), read_id(document, "a document id")
            if is_missing(plain(value)):
                continue
            grade = read_grade(value, query, document)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from error
        if found.setdefault(query, {}).setdefault(document, grade) != grade:
            raise ValueError(
                f"row {row}: a document must have one grade per query, got {found[query][document]!r} and {grade!r} "
                f"for query {query!r}, document {document!r}: keep one of them."
            )
    return found


def read_inputs(inputs: Any, name: str, *, text_only: bool = False) -> dict[str, Any]:
    """Read queries or documents by id.

    Args:
        inputs: Id to text, or to any input that the model encodes; not empty.
        name: Name of the argument, for the error.
        text_only: Whether the model encodes only texts.

    Returns:
        The inputs, with ids as strings, in their order.

    Raises:
        ValueError: If ``inputs`` is not a mapping, or an id or an input is invalid; the error names the id.

    Example:
        >>> read_inputs({"d1": "red", 2: "green"}, "corpus")
        {'d1': 'red', '2': 'green'}
    """
    if not isinstance(inputs, Mapping) or not inputs:
        kind = "an empty dict" if isinstance(inputs, Mapping) else type(inputs).__name__
        remedy = "" if isinstance(inputs, Mapping) else "; for a list of texts write dict(enumerate(texts))"
        raise ValueError(f"{name} must be a non-empty dict of id to text, got {kind}{remedy}.")
    found = dict(by_id(inputs, f"an id of {name}"))
    check_inputs(found.items(), name, "id", text_only=text_only)
    return found


def check_inputs(inputs: Iterable[tuple[Any, Any]], name: str, place: str, *, text_only: bool = False) -> None:
    """Raise a ValueError that names the first input that no model, or no text model, encodes.

    Args:
        inputs: Pairs of an id or row number and an input.
        name: Name of the column or argument, for the error.
        place: The meaning of the first item of each pair, such as ``"row"``.
        text_only: Whether the model encodes only texts.

    Raises:
        ValueError: If an input is None, a number, bytes, a set, a list that is not a chat, or a dict without
            modalities; with ``text_only``, if it is not a string.

    Example:
        >>> check_inputs(enumerate(["red", None]), "text", "row")
        Traceback (most recent call last):
        ValueError: each of 'text' must be a text, got None (NoneType) for row 1; leave it out, or give "".
    """
    for where, value in inputs:
        if isinstance(value, str) or (remedy := _remedy(value, is_row=place == "row", text_only=text_only)) is None:
            continue
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
        shown += f" ({type(value).__name__}) for {row_name(where) if place == 'row' else f'{place} {where!r}'}"
        raise ValueError(f"each of {name!r} must be a text, got {shown}; {remedy}.")


def _remedy(value: Any, *, is_row: bool, text_only: bool) -> str | None:
    """Return a remedy for an input that no model encodes, or None."""
    if value is None or (isinstance(value, Mapping) and not value):
        return 'leave it out, or give ""'
    label = ", or rename the column: 'label' for labels, 'document_weights' for weights" if is_row else ""
    if isinstance(value, Number | bytes | Set | np.bool_):
        return f"convert it to a string{label}"
    if isinstance(value, list | tuple) and not (value and is_message_dict(value[0])):
        return f"give one input each{label}"
    try:
        infer_modality(value)
    except ValueError:
        is_record = isinstance(value, Mapping)
        return 'join its fields into one text, such as f"{title} {text}"' if is_record else "convert it to a string"
    return "give a string, or use a model of its kind" if text_only else None


def is_list_of_inputs(value: Any) -> bool:
    """Return whether a value is a list of inputs, not of numbers or of a chat's messages.

    Args:
        value: Any value of a row.

    Returns:
        True for lists of texts, images or chats, and for an empty list.

    Example:
        >>> [is_list_of_inputs(value) for value in (["d1", "d2"], "d1", [0.5, 0.1])]
        [True, False, False]
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return False
    first = next((item for item in value if item is not None), None)
    if isinstance(first, list | tuple):  # a list of numbers is audio or an image
        return not first or not isinstance(first[0], int | float | list)
    return not (isinstance(first, int | float) or is_message_dict(first))


def few(ids: Iterable[str]) -> str:
    """List the first five ids and count the others."""
    ids = list(ids)
    return ", ".join(map(repr, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def by_id(mapping: Mapping[Any, Any], what: str) -> Iterable[tuple[str, Any]]:
    """Yield the entries with ids as strings; raise ValueError if two keys are the same id."""
    if {*map(type, mapping)} <= {str}:  # which differ, as the keys of a mapping do
        yield from mapping.items()
        return
    seen: dict[str, Any] = {}
    for key, value in mapping.items():
        name = read_id(key, what)
        if name in seen:
            raise ValueError(f"{what} must occur once, got {seen[name]!r} and {key!r}, which are the same id.")
        seen[name] = key
        yield name, value


def _are_usual(judged: dict[Any, Any], largest: float) -> bool:
    """Return whether grades by document id need no conversion, as nearly all, which are then read much faster."""
    kinds = {*map(type, judged.values())} <= {int, float} and {*map(type, judged)} <= {str}
    return kinds and all(0 <= grade <= largest for grade in judged.values())


def _grades(query: str, judged: Any, largest: float) -> Iterable[tuple[str, float]]:
    if not isinstance(judged, Mapping):
        remedy = (
            "if all have the same grade, write dict.fromkeys(document_ids, 1)"
            if isinstance(judged, Set | list | tuple | np.ndarray)
            else "write {document_id: grade}"
        )
        raise ValueError(
            f"qrels must map each query id to a dict of document id to grade, got {type(judged).__name__} for "
            f"{query!r}; {remedy}."
        )
    for document, value in by_id(judged, f"a document id in qrels[{query!r}]"):
        yield document, read_grade(value, query, document, largest)


def _check_known(ids: Iterable[str], known: Mapping[str, Any], name: str) -> None:
    unknown = dict.fromkeys(key for key in ids if key not in known)
    if unknown:
        raise ValueError(f"qrels must name ids of {name}, got the unknown {few(unknown)}.")

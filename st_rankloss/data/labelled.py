"""Single texts with a label: a class, a path of classes, a set of labels or a number, or with none at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from datasets import Features, Value

from st_rankloss.data.building import Notes, build
from st_rankloss.data.columns import as_names, check_column, choose, describe, normal
from st_rankloss.data.label_forms import ORDERED, UNCLEAR, LabelForm, as_flag, code_type, find_form
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import read_weight
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_texts
from st_rankloss.judgements import few
from st_rankloss.labels import is_missing, plain


def read_labelled(
    source: Any,
    *,
    text: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    task: str | None = None,
    separator: str | None = None,
    weight: str | None = None,
    streaming: bool = False,
) -> Part:
    """Read texts with a label each.

    Args:
        source: A table, see `read_table`.
        text: Column of the texts, or several, which are joined. Like all columns, it is found by its name if None.
        label: Column of the labels, or several: levels, coarse to fine; a label each if all hold 0 and 1; or, with
            fractions or ``task="regression"``, numbers. A missing label leaves its row unlabelled.
        task: "classification", "hierarchy", "multi_label" or "regression"; None decides by the labels: strings with
            " > " are paths, strings with "|" are sets, other strings are classes, and so are integers of which
            most repeat, unless their column is named like a rating or a price; other numbers are numbers.
        separator: What separates levels or labels in a string; None finds out.
        weight: Column of weights of rows.
        streaming: Whether to read the file each time; the first 1,000 rows decide what labels are.

    Returns:
        A part of the task; its notes say what labels were treated as.

    Raises:
        ValueError: If a column is missing, or a text or label is invalid; the error names the source, the column and
            the row.

    Example:
        >>> part = read_labelled({"text": ["a", "b"], "category": ["Food > Fruit", "Food"]})
        >>> part.task, part.dataset["label"][:]
        ('hierarchy', [['Food', 'Fruit'], ['Food']])
    """
    texts = as_names(text)
    table = read_table(source, text=texts, streaming=streaming)
    levels = as_names(label)
    with table.named():
        for role, columns in (("text", texts), ("label", levels)):
            for name in columns:
                check_column(name, table.names, role)
        given = {"text": texts[0] if texts else None, "label": levels[0] if levels else None, "weight": weight}
        names = choose(table.names, required=["text", "label"], optional=["weight"], given=given)
        texts, levels = texts or [names["text"]], levels or [names["label"]]
        form = form_of(table, levels, task, separator)
        notes = Notes(table.notes)
        described = _numbered("text", texts) | _numbered("label", levels)
        cut = f", separated by {form.separator!r}" if form.separator else ""
        notes.add(f"{describe(described, table.names)}; labels are read as {form.task}{cut}")
        features = {"text": Value("string"), "label": form.feature}
        if "weight" in names:
            features["weight"] = Value("float64")
        rows = partial(_rows, table, names, texts, levels, form, notes)
        dataset = build(rows, Features(features), streaming=table.streaming)
        return Part(form.task, dataset, notes=notes.all(), source=table.source)


def form_of(table: Table, levels: Sequence[str], task: str | None, separator: str | None) -> LabelForm:
    """Find the form of the labels of a table.

    Args:
        table: The table.
        levels: The columns of labels; several are levels, coarse to fine.
        task: The task, if the caller knows.
        separator: As in `find_form`.

    Returns:
        The form.
    """
    table = table.whole or table
    unclear = [name for name in levels if name in table.unclear and normal(name) not in ORDERED]
    if unclear and task != "regression":
        raise ValueError(f"column {unclear[0]!r} {UNCLEAR}")
    if len(levels) == 1:
        return find_form(table.column(levels[0]), levels[0], task=task, separator=separator)
    codes = [plain(code) for name in levels for code in table.column(name)]
    if wrong := [code for code in codes if isinstance(code, list)]:
        raise ValueError(f"columns of labels must hold one label per row each, got {wrong[0]!r}: name one column.")
    if task in (None, "multi_label") and all(is_missing(code) or as_flag(code) is not None for code in codes):
        return LabelForm("multi_label", columns=tuple(levels))
    if task == "regression" or (task is None and code_type(codes) == "float64"):
        return LabelForm("regression", size=len(levels))
    if task not in (None, "hierarchy"):
        rule = "0 and 1 in each, which says whether the label applies" if task == "multi_label" else "one column"
        raise ValueError(f"labels of {task} must have {rule}, got the columns {few(levels)}: name others.")
    return LabelForm("hierarchy", None, code_type(codes))


def _numbered(role: str, columns: Sequence[str]) -> dict[str, str]:
    several = len(columns) > 1
    return {f"{role} {place}" if several else role: name for place, name in enumerate(columns, 1)}


def _rows(
    table: Table, names: dict[str, str], texts: list[str], levels: list[str], form: LabelForm, notes: Notes
) -> Iterator[Row]:
    with table.named():
        for place, row in enumerate(table.rows()):
            text = read_texts(row, place, texts)
            if text is None:
                notes.count("rows without a text are left out", f"row {place}")
                continue
            found = label_of(row, place, levels, form, notes)
            weight = {"weight": read_weight(row, place, names["weight"])} if "weight" in names else {}
            yield {"text": text, "label": found} | weight


def label_of(row: Row, place: int, levels: Sequence[str], form: LabelForm, notes: Notes) -> Any:
    """Return the label of a row, of one column or of several, coarse to fine; count those without one in the notes."""
    values = [plain(row[name]) for name in levels]
    if len(levels) == 1:
        found = form.read(values[0], place, levels[0])
    elif all(is_missing(value) for value in values):
        found = None
    else:
        found = form.read_flags(values, place) if form.columns else form.read(values, place, " > ".join(levels))
    if form.size and isinstance(found, list) and any(map(math.isnan, found)):
        notes.count("rows that lack one of their numbers are kept, unlabelled", f"row {place}")
    if found is None:
        no_label = " whose class is -1, which stands for no label," if -1 in values else " without a label"
        remedy = " (task='regression' reads numbers)" if -1 in values else ""
        notes.count(f"rows{no_label} are kept, unlabelled{remedy}", f"row {place}")
    return found


def read_texts_alone(source: Any, *, text: str | Sequence[str] | None = None, streaming: bool = False) -> Part:
    """Read texts without labels.

    Args:
        source: A table, see `read_table`.
        text: Column of the texts, or several, which are joined; found by its name if None.
        streaming: Whether to read the file each time.

    Returns:
        A self_supervised part.

    Example:
        >>> read_texts_alone({"sentence": ["a", "b"]}).dataset["text"][:]
        ['a', 'b']
    """
    texts = as_names(text)
    table = read_table(source, text=texts, streaming=streaming)
    with table.named():
        for name in texts:
            check_column(name, table.names, "text")
        texts = texts or [choose(table.names, required=["text"])["text"]]
        notes = Notes((*table.notes, describe(_numbered("text", texts), table.names)))
        rows = partial(_texts, table, texts, notes)
        dataset = build(rows, Features({"text": Value("string")}), streaming=table.streaming)
        return Part("self_supervised", dataset, notes=notes.all(), source=table.source)


def _texts(table: Table, columns: list[str], notes: Notes) -> Iterator[Row]:
    with table.named():
        for place, row in enumerate(table.rows()):
            if (text := read_texts(row, place, columns)) is None:
                notes.count("rows without a text are left out", f"row {place}")
            else:
                yield {"text": text}

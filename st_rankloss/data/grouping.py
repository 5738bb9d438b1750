"""Group rows of (query, document, grade) into lists: one row per query."""

from __future__ import annotations

from datasets import Dataset

from st_rankloss.data.judged import Judged, Judgement
from st_rankloss.labels import plain, read_grades


def group_into_lists(
    dataset: Dataset, query_column: str = "query", document_column: str = "document", label_column: str = "label"
) -> Dataset:
    """Group rows of a query, a document and its grade into one row per query, with a list of its documents.

    Ungrouped, a query repeats: in a batch, most of its documents belong to other rows and count as irrelevant, whatever
    their grade, and most queries have a single judged document. With lists, each query ranks all its documents.

    Args:
        dataset: Rows with one query, one document and one grade each; other columns are dropped.
        query_column: Column of queries; equal ones are merged.
        document_column: Column of documents; a document that repeats with the same grade counts once.
        label_column: Column of grades of at least 0; None leaves a document unjudged.

    Returns:
        Columns ``query_column``, ``document_column`` + "s" (lists) and "labels" (lists), in the order of the rows.
        Memory: one copy of the columns.

    Raises:
        ValueError: If a column is missing, a grade is invalid, or a document has two grades for one query; the error
            names the row.

    Example:
        >>> rows = Dataset.from_dict({"query": ["a", "b", "a"], "document": ["x", "y", "z"], "label": [3, 1, 0]})
        >>> lists = group_into_lists(rows)
        >>> lists["query"][:], lists["documents"][:], lists["labels"][:]
        (['a', 'b'], [['x', 'z'], ['y']], [[3.0, 0.0], [1.0]])
    """
    columns = [query_column, document_column, label_column]
    missing = [name for name in columns if name not in dataset.column_names]
    if missing:
        raise ValueError(f"the dataset must have the columns {columns}, got {dataset.column_names}, without {missing}.")
    judged = Judged()
    values = dataset.select_columns(columns).with_format(None)
    for row, entry in enumerate(values):
        query, document = (plain(entry[name]) for name in (query_column, document_column))
        for name, text in ((query_column, query), (document_column, document)):
            if not isinstance(text, str):
                raise ValueError(f"column {name!r} must hold one text per row, got {text!r} in row {row}.")
        (grade,) = read_grades([plain(entry[label_column])], row, label_column)
        judged.add(Judgement(row, query, document, grade))
    rows = list(judged.rows())
    return Dataset.from_dict(
        {
            query_column: [row["query"] for row in rows],
            document_column + "s": [row["documents"] for row in rows],
            "labels": [row["labels"] for row in rows],
        }
    )

"""Documents by id, without queries or judgements."""

from __future__ import annotations

from pathlib import Path

from st_rankloss.data.building import Notes
from st_rankloss.data.folders import corpus_files
from st_rankloss.data.trec_files import read_texts


def read_corpus(
    source: str | Path, *, document: str | None = None, document_id: str | None = None, title: str | None = None
) -> dict[str, str]:
    """Read the documents of a table, or of a folder that has tables of documents.

    Args:
        source: The file or folder.
        document: Column of the texts. Like all columns, it is found by its name if None.
        document_id: Column of the ids.
        title: Column of titles, which are joined to the texts by a space.

    Returns:
        Texts by id, in the order of the table.

    Raises:
        ValueError: If there is no such file, or it is malformed; the error names the row.
    """
    paths = corpus_files(Path(source), {"document": document, "document_id": document_id})
    return read_texts(paths, "document", Notes(), document=document, id=document_id, title=title)

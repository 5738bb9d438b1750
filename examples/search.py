"""Search the documentation of the installed Python packages with a trained model.

    python examples/search.py MODEL "how do I read a csv file" ["another question" ...]

MODEL is a folder that `examples/quickstart.py` has written (it keeps the documents beside the model), ``minilm``, or
any other sentence-transformers model; for those the documentation of the installed packages is read first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import documentation
from sentence_transformers import SentenceTransformer

from st_rankloss.encoders import make_encoder
from st_rankloss.evaluation.search import exact_search, faiss_search

DOCUMENTS = "documents.json"
"""Where `examples/quickstart.py` keeps the documents, in the model's folder: names to texts."""


def load_documents(model: str) -> dict[str, str]:
    """Load the documents by name, those kept beside a model or those of the installed packages."""
    kept = Path(model) / DOCUMENTS
    if kept.exists():
        texts: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
        return texts
    return {entry.id: entry.query for entry in documentation.load()}


def search(
    model: SentenceTransformer, queries: Sequence[str], documents: Sequence[str], *, top: int = 10
) -> list[list[tuple[int, float]]]:
    """Rank the documents for each query, with faiss if it is installed.

    Returns:
        For each query the places of its ``top`` documents, best first, and their similarities.
    """
    query_embeddings = model.encode_query(list(queries), batch_size=256, convert_to_tensor=True)
    embeddings = model.encode_document(list(documents), batch_size=256, convert_to_tensor=True)
    top, similarity = min(top, len(documents)), model.similarity_fn_name
    if find_spec("faiss"):
        similarities, places = faiss_search(query_embeddings, [embeddings], top, similarity, index="Flat")
    else:
        similarities, places = exact_search(query_embeddings, [embeddings], top, similarity)
    return [list(zip(*row, strict=True)) for row in zip(places.tolist(), similarities.tolist(), strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the questions on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a trained model, hub id, or minilm")
    parser.add_argument("questions", nargs="+", help="what to search for")
    parser.add_argument("--top", type=int, default=10, help="number of answers")
    options = parser.parse_args(arguments)
    model, documents = make_encoder(options.model), load_documents(options.model)
    names, answers = list(documents), search(model, options.questions, list(documents.values()), top=options.top)
    for question, found in zip(options.questions, answers, strict=True):
        print(question)
        for place, similarity in found:
            print(f"  {similarity:.2f}  {names[place]}: {documents[names[place]]}"[:100])


if __name__ == "__main__":
    main()

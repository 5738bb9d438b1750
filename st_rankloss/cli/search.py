"""Search a corpus: type a query, get the nearest documents.

st-rankloss search output/model beir-folder "how to boil an egg"
st-rankloss search output/model corpus.jsonl --embeddings kept < queries.txt
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.console import Console

from st_rankloss.cli.options import add_columns, add_embeddings, reading
from st_rankloss.data import read_corpus
from st_rankloss.encoders import encoding_batch, make_encoder
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.search import exact_search
from st_rankloss.evaluation.shards import Shards, storage_order


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="a folder, an id on the hub, or minilm")
    parser.add_argument("corpus", metavar="CORPUS", type=Path, help="a table of documents, or a folder that has one")
    parser.add_argument("queries", metavar="QUERY", nargs="*", help="default: one per line of the standard input")
    add_columns(parser)
    parser.add_argument("--top", type=int, default=5, help="documents per query (default: 5)")
    add_embeddings(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Embed the corpus once, and answer each query."""
    if options.top < 1:
        raise ValueError(f"--top must be at least 1, got {options.top}.")
    corpus = read_corpus(options.corpus, **_columns(options))
    model = make_encoder(options.model)
    embedder = Embedder(model, batch_size=encoding_batch(model), show_progress_bar=console.is_terminal)
    ids = storage_order(corpus)
    if options.embeddings:
        chunks = Shards(options.embeddings).embed(embedder, corpus).chunks
    else:
        embeddings: Any = embedder.embed_documents({document_id: corpus[document_id] for document_id in ids})
        chunks = embeddings.split
    embedder = replace(embedder, show_progress_bar=False)
    for query in options.queries or _typed(console):
        queries = embedder.embed_queries({"query": query})
        scores, places = exact_search(queries, chunks(embedder.chunk), options.top, embedder.compared_by)
        console.print(f"\n{query}", style="bold")
        for value, place in zip(scores[0].tolist(), places[0].tolist(), strict=True):
            text = " ".join(str(corpus[ids[place]]).split())
            line = f"{value:.3f}  {ids[place]}  {text}"
            console.print(line[: console.width], overflow="ellipsis", no_wrap=True)
    return 0


def _columns(options: argparse.Namespace) -> dict[str, Any]:
    """Return the columns of the corpus, or raise ValueError for another option."""
    found, roles = reading(options), inspect.signature(read_corpus).parameters.keys() - {"source"}
    if unknown := found.keys() - roles:
        raise ValueError(f"--read takes {', '.join(sorted(roles))} of a corpus, got {', '.join(sorted(unknown))}.")
    return found


def _typed(console: Console) -> Iterator[str]:
    """Yield the lines of the standard input that are not empty."""
    lines: Iterable[str] = sys.stdin
    if sys.stdin.isatty():
        console.print("Type a query; an empty line or Ctrl-D ends.", style="dim")
        lines = takewhile(str.strip, sys.stdin)
    yield from (line.strip() for line in lines if line.strip())

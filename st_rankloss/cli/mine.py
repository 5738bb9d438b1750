"""Mine hard negatives: each query's judged documents, and the nearest unjudged ones.

st-rankloss mine beir-folder --model minilm --output mined.jsonl
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from rich.console import Console

from st_rankloss.cli.options import add_data, add_embeddings, add_part, pick, reading, show_notes
from st_rankloss.data import read
from st_rankloss.encoders import make_encoder
from st_rankloss.mining import mine_graded_negatives

FORMATS: dict[str, Callable[..., Any]] = {
    ".jsonl": Dataset.to_json,
    ".parquet": Dataset.to_parquet,
    ".csv": Dataset.to_csv,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_data(parser)
    parser.add_argument("--model", required=True, help="the encoder that finds them")
    parser.add_argument("--output", type=Path, required=True, help=f"new file: {', '.join(FORMATS)}")
    add_part(parser, "train")
    parser.add_argument("--negatives", type=int, default=3, help="per query (default: 3)")
    parser.add_argument("--skip", type=int, default=0, help="nearest unjudged documents to skip: they may be relevant")
    parser.add_argument("--max-score", type=float, help="highest similarity of a negative")
    parser.add_argument("--unjudged", type=float, default=0.0, help="grade of the negatives (default: 0)")
    add_embeddings(parser)
    parser.add_argument("--batch-size", type=int, default=64, help="inputs encoded at a time (default: 64)")


def run(options: argparse.Namespace, console: Console) -> int:
    """Mine, and write the rows."""
    if options.output.suffix not in FORMATS:
        raise ValueError(f"--output must end in one of {', '.join(FORMATS)}, got {options.output.name!r}.")
    if (data := Path(options.data).resolve()) in (options.output.resolve(), *options.output.resolve().parents):
        raise ValueError(f"--output must not be among the data, got {options.output}: choose a file outside {data}.")
    if options.output.exists():
        raise ValueError(f"--output must be a new file, got {options.output}: name another file, or delete this one.")
    parts = read(options.data, task=options.task, **reading(options))
    name = pick(parts, options.data, options.part, "train")
    part = parts[name]
    show_notes([part], console)
    if part.task != "retrieval":
        raise ValueError(f"{options.data}: mining needs queries, documents and grades, got data for {part.task}.")
    model = make_encoder(options.model, part.texts() if options.model == "static" else ())
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=options.output.name, dir=options.output.parent) as folder:  # fails before mining
        mined = mine_graded_negatives(
            part.queries,
            part.corpus,
            part.qrels,
            model,
            num_negatives=options.negatives,
            range_min=options.skip,
            max_score=options.max_score,
            unjudged=options.unjudged,
            corpus_embeddings=options.embeddings,
            batch_size=options.batch_size,
            show_progress_bar=console.is_terminal,
        )
        suffix, whole = options.output.suffix, Path(folder) / options.output.name
        FORMATS[suffix](_judgements(mined) if suffix == ".csv" else mined, str(whole))
        os.replace(whole, options.output)
    documents = sum(map(len, mined["documents"]))
    console.print(f"{len(mined)} queries of part {name} with {documents} documents in {options.output}")
    return 0


def _judgements(mined: Dataset) -> Dataset:
    """Return one row per judgement, since a field of a csv file cannot hold a list."""
    names = {"documents": "document", "labels": "grade", "document_ids": "document_id"}
    queries = [name for name in mined.column_names if name not in names]
    rows = [
        {query: row[query] for query in queries} | dict(zip(names.values(), judged, strict=True))
        for row in mined.with_format(None)
        for judged in zip(*(row[name] for name in names), strict=True)
    ]
    return Dataset.from_list(rows)

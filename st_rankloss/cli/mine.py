"""Mine hard negatives: each query's judged documents, and the nearest unjudged ones.

st-rankloss mine beir-folder --model minilm --output mined.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import Dataset
from rich.console import Console

from st_rankloss.cli.options import PARTS_HELP, add_data, add_embeddings, pick, reading, show_notes
from st_rankloss.data import read
from st_rankloss.encoders import make_encoder
from st_rankloss.mining import mine_graded_negatives

FORMATS = (".jsonl", ".parquet", ".csv")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_data(parser)
    parser.add_argument("--model", required=True, help="the encoder that finds them")
    parser.add_argument("--output", type=Path, required=True, help=f"file to write: {', '.join(FORMATS)}")
    parser.add_argument("--part", default="train", help=PARTS_HELP)
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
    parts = read(options.data, task=options.task, **reading(options))
    part = pick(parts, options.data, options.part)
    show_notes([part], console)
    if part.task != "retrieval":
        raise ValueError(f"{options.data}: mining needs queries, documents and grades, got data for {part.task}.")
    mined = mine_graded_negatives(
        part.queries,
        part.corpus,
        part.qrels,
        make_encoder(options.model, part.texts() if options.model == "static" else ()),
        num_negatives=options.negatives,
        range_min=options.skip,
        max_score=options.max_score,
        unjudged=options.unjudged,
        corpus_embeddings=options.embeddings,
        batch_size=options.batch_size,
        show_progress_bar=console.is_terminal,
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    writer = {".jsonl": mined.to_json, ".parquet": mined.to_parquet, ".csv": _judgements(mined).to_csv}[
        options.output.suffix
    ]
    writer(str(options.output))
    documents = sum(map(len, mined["documents"]))
    console.print(f"{len(mined)} queries with {documents} documents in {options.output}", highlight=False)
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

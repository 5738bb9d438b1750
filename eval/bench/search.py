"""Time and peak memory of the graded evaluator on a large corpus, beside sentence-transformers' and faiss's own search.

    python -m eval.bench.search --documents 1000000 --queries 10000 --output output/search

Embeddings are random and normalised, and the model only looks them up, so that what is timed is search and scoring.
Each contender has a process of its own; its memory is the peak above embeddings, texts and judgements.

    exact        GradedInformationRetrievalEvaluator, exact search
    faiss        the same with flat faiss search
    host         sentence-transformers' InformationRetrievalEvaluator, of one similarity
    faiss alone  IndexFlatIP.search of the same number of results, without filling the index

As other load may differ from process to process, ``faiss`` also reports the time of faiss's search within it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from torch import Tensor, nn
from torch.nn import functional as F

from eval.bench.timing import DIMENSIONS, in_own_process, save
from eval.machine import PeakMemory
from st_rankloss import GradedInformationRetrievalEvaluator

DEPTH = 100
"""Results per query, the default of the evaluators."""

JUDGED = 10
"""Judged documents per query."""

Result = dict[str, Any]


class LookUp(SentenceTransformer):
    """A model whose inputs are the numbers of rows of embeddings that are there.

    Args:
        queries: Shape ``(Q, dim)``.
        documents: Shape ``(D, dim)``.
    """

    def __init__(self, queries: Tensor, documents: Tensor) -> None:
        super().__init__(modules=[nn.Identity()], similarity_fn_name="cosine", device="cpu")
        self.rows = {"query": queries, "document": documents}

    def encode_query(self, inputs: Sequence[str], **_: Any) -> Tensor:
        """Return rows of queries."""
        return self._look_up("query", inputs)

    def encode_document(self, inputs: Sequence[str], **_: Any) -> Tensor:
        """Return rows of documents."""
        return self._look_up("document", inputs)

    def _look_up(self, name: str, inputs: Sequence[str]) -> Tensor:
        return self.rows[name][np.array(inputs, dtype=np.int64)]


def make_vectors(rows: int, seed: int) -> Tensor:
    """Make random vectors of length 1, without a copy of them all."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.empty(rows, DIMENSIONS)
    for part in vectors.split(100_000):
        part.copy_(F.normalize(torch.randn(part.shape, generator=generator), dim=-1))
    return vectors


def make_task(documents: int, queries: int) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Make queries and documents that are numbers, and random judgements."""
    random = np.random.default_rng(0)
    judged = random.integers(0, documents, (queries, JUDGED)).tolist()
    qrels = {f"q{q}": {f"d{d}": 1 + d % 3 for d in row} for q, row in enumerate(judged)}
    texts, corpus = ({f"{name}{i}": str(i) for i in range(n)} for name, n in (("q", queries), ("d", documents)))
    return texts, corpus, qrels


def graded(faiss_above: int | None, model: LookUp, task: tuple[Any, Any, Any]) -> Result:
    """Run our evaluator, and note how much of its time faiss's search takes."""
    seconds = []
    knn = faiss.knn

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        found = knn(*args, **options)
        seconds.append(time.perf_counter() - start)
        return found

    faiss.knn = timed
    GradedInformationRetrievalEvaluator(*task, faiss_above=faiss_above)(model)
    return {"faiss within": sum(seconds)} if seconds else {}


def host(model: LookUp, task: tuple[Any, Any, Any]) -> Result:
    """Run the evaluator of sentence-transformers."""
    queries, corpus, qrels = task
    InformationRetrievalEvaluator(queries, corpus, {q: set(judged) for q, judged in qrels.items()})(model)
    return {}


def faiss_alone(model: LookUp, _: Any) -> Result:
    """Fill an index and search it; only the search counts."""
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(model.rows["document"].numpy())
    start = time.perf_counter()
    index.search(model.rows["query"].numpy(), min(DEPTH, index.ntotal))
    return {"seconds": time.perf_counter() - start}


CONTENDERS: dict[str, Callable[[LookUp, tuple[Any, Any, Any]], Result]] = {
    "exact": partial(graded, None),
    "faiss": partial(graded, 0),
    "host": host,
    "faiss alone": faiss_alone,
}


def measure(name: str, documents: int, queries: int) -> Result:
    """Return the seconds of a contender, with its constructor, and its peak memory above embeddings and texts."""
    model = LookUp(make_vectors(queries, 1), make_vectors(documents, 2))
    task = make_task(documents, queries)
    CONTENDERS[name](LookUp(make_vectors(20, 1), make_vectors(200, 2)), make_task(200, 20))  # warms up
    peak = PeakMemory()
    start = time.perf_counter()
    found = CONTENDERS[name](model, task)
    return {"seconds": time.perf_counter() - start} | found | {"megabytes": peak.megabytes(added=True)}


def lay_out(records: list[Result], machine: str) -> Table:
    """Make a table of the records."""
    first = records[0]
    title = f"{first['documents']} documents, {first['queries']} queries, {DIMENSIONS} dimensions\n{machine}"
    table = Table(title=title)
    for heading in ("contender", "time", "of it faiss's search", "peak above embeddings"):
        table.add_column(heading, justify="right")
    for record in records:
        within = record.get("faiss within")
        memory = record["megabytes"]
        table.add_row(
            record["contender"],
            f"{record['seconds']:.1f} s",
            "" if within is None else f"{within:.1f} s",
            "unknown" if memory is None else f"{memory:.0f} MiB",
        )
    return table


def main() -> None:
    """Measure every contender, print a table, and write search.json."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path("output/search"), help="folder for results")
    made.add_argument("--device", choices=["cpu"], default="cpu")
    made.add_argument("--documents", type=int, default=1_000_000)
    made.add_argument("--queries", type=int, default=10_000)
    made.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    made.add_argument("--case", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.case:
        print(json.dumps(measure(**json.loads(options.case))))
        return
    records: list[Result] = []
    for name in options.contenders:
        case = {"documents": options.documents, "queries": options.queries}
        found = in_own_process("eval.bench.search", options.device, name=name, **case)
        records.append({"contender": name, **case, **found})
        print(f"{name:<12}{records[-1]['seconds']:.2f} s", flush=True)
    machine = save(options, records=records)
    Console(width=140).print(lay_out(records, machine))


if __name__ == "__main__":
    main()

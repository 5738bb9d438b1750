"""Train a search engine for the documentation of the installed Python packages, and compare two losses on it.

    python examples/quickstart.py [--model static|minilm|HUB-ID-OR-PATH] [--output FOLDER]

A query is the first sentence of an object's docstring, a document its name, signature and the rest. The object itself
has grade 3, others of its class 2, of its module 1. The test is a search in modules that were never trained on. Two
losses train the same model on the same pairs in the same order, each at the settings that were best on the dev modules:

    MNRL      MultipleNegativesRankingLoss of sentence-transformers: the object itself against all others
    A-NDCG    ANDCGLoss of st_rankloss: all grades at once

The table says who ranks better; then the A-NDCG model answers three questions, and `examples/search.py` answers yours.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import documentation
import shared
from datasets import Dataset
from documentation import Entry
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from search import DOCUMENTS, search
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from transformers import ProgressCallback

from st_rankloss import ANDCGLoss, GradedInformationRetrievalEvaluator, relevance
from st_rankloss.encoders import make_encoder
from st_rankloss.evaluation import mean_metrics

LOSSES: dict[str, Callable[[SentenceTransformer], nn.Module]] = {
    "MNRL": lambda model: MultipleNegativesRankingLoss(model, scale=14),
    "A-NDCG": lambda model: ANDCGLoss(model, relevance=relevance.Hierarchy(), temperature=0.06),
}
SETTINGS = {
    "static": {"epochs": 6, "batch_size": 512},
    "pretrained": {"epochs": 1, "batch_size": 64},
}
LEARNING_RATE = 0.1
"""For a static model from scratch."""
GRADES = {1: "same module", 2: "same class", 3: "the object"}
QUESTIONS = (
    "read a csv file in pieces that fit into memory",
    "shortest path between two nodes of a graph",
    "wait until several threads have reached the same point",
)


def make_dataset(entries: Sequence[Entry]) -> Dataset:
    """Pair each query with its document; the label is the object's place, [module, class, object]."""
    return Dataset.from_dict(
        {
            "query": [entry.query for entry in entries],
            "document": [entry.document for entry in entries],
            "label": documentation.paths(entries),
        }
    )


class Part:
    """Modules that are searched: each object's query over all their documents."""

    def __init__(self, entries: Sequence[Entry], name: str) -> None:
        self.queries = {entry.id: entry.query for entry in entries}
        self.corpus = {entry.id: entry.document for entry in entries}
        self.ids = list(self.corpus)
        grades = documentation.qrels(entries, entries)
        self.evaluator = self._evaluator(grades, name, relevance_level=3)
        """nDCG reads all grades; MRR and recall count grade 3, the object itself."""
        self.by_grade = {}
        for grade in GRADES:
            only = {query: {d: 1 for d, g in row.items() if g == grade} for query, row in grades.items()}
            self.by_grade[grade] = self._evaluator({q: row for q, row in only.items() if row}, f"grade {grade}")

    def _evaluator(self, qrels: Mapping[str, Mapping[str, int]], name: str, **options: Any) -> Any:
        queries = {query: self.queries[query] for query in qrels}
        return GradedInformationRetrievalEvaluator(
            queries, self.corpus, qrels, name=name, batch_size=256, write_csv=False, **options
        )

    def score(self, rankings: Sequence[Sequence[int]]) -> dict[str, float]:
        """Score each query's documents, best first, given by their places."""
        run = {q: [self.ids[place] for place in row] for q, row in zip(self.queries, rankings, strict=True)}
        scores = mean_metrics(self.evaluator.compute_metrics(run))
        for grade, evaluator in self.by_grade.items():
            scores[f"grade {grade}"] = mean_metrics(evaluator.compute_metrics(run))["ndcg@10"]
        return scores

    def score_model(self, model: SentenceTransformer) -> dict[str, float]:
        """Score a model."""
        found = search(model, list(self.queries.values()), list(self.corpus.values()), top=100)
        return self.score([[place for place, _ in row] for row in found])

    def score_bm25(self) -> dict[str, float]:
        """Score BM25, with names such as ``readCsv_file`` split into their words."""

        def tokenize(texts: Mapping[str, str]) -> Any:
            split = [re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text) for text in texts.values()]
            return bm25s.tokenize(split, show_progress=False)

        bm25 = bm25s.BM25()
        bm25.index(tokenize(self.corpus), show_progress=False)
        found, _ = bm25.retrieve(tokenize(self.queries), k=min(100, len(self.ids)), show_progress=False)
        return self.score(found.tolist())


class ProgressBar(ProgressCallback):
    """The trainer's progress bar, without the logs printed across it."""

    def on_log(self, *arguments: Any, **kwargs: Any) -> None:
        """Print nothing."""


def train(
    model: SentenceTransformer, loss: nn.Module, dataset: Dataset, dev: Part, options: argparse.Namespace
) -> list[float]:
    """Train a model; return its graded nDCG@10 on dev before training and after each epoch."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(options.output / "checkpoints"),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        eval_strategy="epoch",
        eval_on_start=True,
        save_strategy="no",
        report_to="none",
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=loss, evaluator=dev.evaluator
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressBar)
    trainer.train()
    key = f"eval_{dev.evaluator.primary_metric}"
    return [log[key] for log in trainer.state.log_history if key in log]


def make_table(rows: Mapping[str, Mapping[str, float]], documents: int) -> Table:
    """Lay out the comparison."""
    table = Table(title=f"Search in modules never trained on: {documents} queries, {documents} documents")
    for heading in ("", "graded nDCG@10", "MRR@10 ¹", "recall@100 ¹", "seconds ²"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        values = [f"{row[metric]:.4f}" for metric in ("ndcg@10", "mrr@10", "recall@100")]
        table.add_row(name, *values, f"{row['seconds']:.0f}")
    table.caption = "¹ of the object itself, grade 3   ² training and, for BM25, search"
    return table


def plot(curves: Mapping[str, Sequence[float]], rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the learning curves on dev, and nDCG@10 on test by grade."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in curves.items():
        left.plot(range(len(curve)), curve, "o-", label=name)
    left.set(xlabel="epoch", ylabel="graded nDCG@10, dev", title="Learning curves")
    left.legend()
    width = 0.8 / len(rows)
    for i, (name, row) in enumerate(rows.items()):
        places = [grade + width * (i - (len(rows) - 1) / 2) for grade in GRADES]
        right.bar(places, [row[f"grade {grade}"] for grade in GRADES], width, label=name)
    right.set(ylabel="nDCG@10, test", title="One grade at a time")
    right.set_xticks(list(GRADES), [f"{grade}: {name}" for grade, name in GRADES.items()])
    right.legend()
    figure.savefig(path, dpi=130)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="static", help="static (from scratch), static-minilm, minilm, or a hub id or path"
    )
    parser.add_argument("--output", type=Path, default=Path("output/quickstart"), help="folder for model and plot")
    parser.add_argument("--limit", type=int, default=25_000, help="documented objects at most")
    parser.add_argument("--packages", nargs="+", default=documentation.PACKAGES, help="packages to read, if installed")
    parser.add_argument("--seed", type=int, default=0, help="of the model and of the order of the pairs")
    parser.add_argument("--epochs", type=float, help="default: 6 for static, else 1")
    parser.add_argument("--batch-size", type=int, help="default: 512 for static, else 64")
    parser.add_argument("--learning-rate", type=float, help="default: 0.1 for static, else that of the kind of model")
    options = parser.parse_args(arguments)
    options.own_model = options.model == "static"
    for name, value in SETTINGS["static" if options.own_model else "pretrained"].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare BM25, the untrained model and the two losses; save the A-NDCG model and ask it."""
    options, console = parse_options(arguments), Console()
    options.output.mkdir(parents=True, exist_ok=True)
    console.print("Reading the documentation of the installed packages ...")
    entries = documentation.load(options.limit, packages=options.packages)
    parts = documentation.split(entries)
    console.print(f"{len(entries)} objects: " + ", ".join(f"{len(part)} {name}" for name, part in parts.items()))
    dev, test, dataset = Part(parts["dev"], "dev"), Part(parts["test"], "test"), make_dataset(parts["train"])

    start = time.perf_counter()
    rows = {"BM25": {**test.score_bm25(), "seconds": time.perf_counter() - start}}
    texts = dataset["query"][:] + dataset["document"][:]
    vocabulary = shared.VOCABULARY
    untrained = make_encoder(options.model, texts, seed=options.seed, dimensions=1_024, vocabulary=vocabulary)
    options.learning_rate = shared.learning_rate(untrained, options, LEARNING_RATE)
    rows["before"] = {**test.score_model(untrained), "seconds": 0}
    curves = {}
    for name, make_loss in LOSSES.items():
        console.print(f"Training with {name} ...")
        model, start = copy.deepcopy(untrained), time.perf_counter()
        curves[name] = train(model, make_loss(model), dataset, dev, options)
        seconds = time.perf_counter() - start
        rows[name] = {**test.score_model(model), "seconds": seconds}

    documents, folder = [entry.document for entry in entries], options.output / "model"
    model.save_pretrained(str(folder))
    (folder / DOCUMENTS).write_text(json.dumps(documents), encoding="utf-8")
    (options.output / "results.json").write_text(json.dumps({"test": rows, "dev": curves}, indent=2), encoding="utf-8")
    plot(curves, rows, options.output / "quickstart.png")
    console.print(make_table(rows, len(test.ids)))
    for question, found in zip(QUESTIONS, search(model, QUESTIONS, documents, top=3), strict=True):
        console.print(f"\n[bold]{question}[/bold]")
        for place, similarity in found:
            console.print(f"  {similarity:.2f}  {documents[place][:90]}", markup=False, highlight=False)
    console.print(f"\nSaved in {options.output}: model, results.json, quickstart.png. Ask the model yourself:")
    console.print(f'python examples/search.py {folder} "how do I ..."', highlight=False)


if __name__ == "__main__":
    main()

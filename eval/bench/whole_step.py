"""Where the time of a training step goes, and whole steps against those of sentence-transformers with MNRL.

    python -m eval.bench.whole_step --output output/whole_step [--models minilm static] [--batches 512 8192]

The trainer trains on pairs of short texts with ids, ``Qrels`` of eight judgements per query and ``samplers.qrels``;
half of the batch's texts are in each column. Beyond 512 texts, transformers train with the cached losses in
mini-batches of 32. The seconds of each part leave out those of the parts inside it; each case runs in its own process.

    encoder      forward, backward and, for cached losses, the steps of gradient caching around them
    tokeniser    the model's own preprocessing
    optimiser    AdamW
    trainer      the rest of a step of sentence-transformers, transformers and datasets
    collator     what `RankingCollator` adds: checks, ids and labels
    labels       what the loss reads before the model runs
    look-up      the blocks of relevance, from `Qrels`
    loss         similarities, the objective and its gradient
    sampler      the plan of an epoch, divided by its batches
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from contextlib import ExitStack
from functools import wraps
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from transformers import TrainerCallback

from eval.bench.timing import CLASS_SIZE, in_own_process, parser, save, seconds_of
from st_rankloss import ANDCGLoss, RankingTrainer, samplers
from st_rankloss.collators import RankingCollator
from st_rankloss.encoders import make_encoder
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.relevance import Qrels

MINI_BATCH = 32
WORDS = 8
PLAIN = 512
"""Texts up to which transformers train without a cache."""

THEIRS = ("encoder", "tokeniser", "optimiser", "trainer")
OURS = ("collator", "labels", "look-up", "loss", "sampler")


class Stopwatch(ExitStack):
    """Adds up the seconds of functions, without those of the watched functions that they call, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Replace an attribute, a function, by one that is timed."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            results: list[Any] = []
            total = seconds_of(lambda: results.append(function(*args, **options)), "cpu")
            self.seconds[part] += total - self._inner.pop()
            self._inner[-1] += total
            return results[0]

        self.enter_context(patch.object(owner, name, timed))


class Window(TrainerCallback):
    """Times the steps after the first, which warms up."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch, self.start, self.seconds, self.plan = watch, 0.0, 0.0, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start after the first step, and read the time after each other one."""
        if state.global_step == 1:
            self.plan = self.watch.seconds.pop("sampler", 0.0)
            self.watch.seconds.clear()
            self.start = time.perf_counter()
        self.seconds = time.perf_counter() - self.start


def make_rows(rows: int) -> tuple[Dataset, dict[str, dict[str, int]]]:
    """Make pairs of random words with ids, and judgements of eight documents per query."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(1000, 9999, (2, rows, WORDS), generator=generator).tolist()
    texts = [[" ".join(f"w{word}" for word in row) for row in column] for column in words]
    queries, documents = [str(row) for row in range(rows)], [f"D{row}" for row in range(rows)]
    qrels = {
        query: {
            document: 1 + (document == documents[row])
            for document in documents[row // CLASS_SIZE * CLASS_SIZE :][:CLASS_SIZE]
        }
        for row, query in enumerate(queries)
    }
    columns = {"query": texts[0], "query_id": queries, "document": texts[1], "document_id": documents}
    return Dataset.from_dict(columns), qrels


def make_trainer(contender: str, model: Any, batch: int, steps: int, folder: str) -> Any:
    """Make the trainer of a contender, on data for one batch more than it trains on."""
    dataset, qrels = make_rows(batch // 2 * (steps + 2))
    options: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": batch // 2,
        "max_steps": steps + 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    in_parts = batch > PLAIN and hasattr(model[0], "auto_model")
    cached: dict[str, Any] = {"mini_batch_size": MINI_BATCH} if in_parts else {}
    if contender == "MNRL":
        loss = (CachedMultipleNegativesRankingLoss if cached else MultipleNegativesRankingLoss)(model, **cached)
        arguments = SentenceTransformerTrainingArguments(**options)
        texts = dataset.select_columns(["query", "document"])
        return SentenceTransformerTrainer(model=model, args=arguments, train_dataset=texts, loss=loss)
    arguments = SentenceTransformerTrainingArguments(**options, batch_sampler=samplers.qrels())
    ours = (CachedANDCGLoss if cached else ANDCGLoss)(model, relevance=Qrels(qrels), **cached)
    return RankingTrainer(model=model, args=arguments, train_dataset=dataset, loss=ours)


def watch_parts(watch: Stopwatch, trainer: Any) -> None:
    """Time the parts of a trainer's steps."""
    watch.watch(trainer, "training_step", "encoder")
    watch.watch(trainer.data_collator, "preprocess_fn", "tokeniser")
    watch.watch(torch.optim.AdamW, "step", "optimiser")
    if isinstance(trainer, RankingTrainer):
        watch.watch(RankingCollator, "__call__", "collator")
        watch.watch(samplers.distinct.DistinctSampler, "plan", "sampler")
        watch.watch(Qrels, "__call__", "look-up")
        watch.watch(trainer.loss, "_paired", "labels")
        watch.watch(trainer.loss, "_compute", "loss")


def measure(contender: str, name: str, batch: int, steps: int, device: str) -> dict[str, Any]:
    """Train a few steps, and return the seconds of one and of its parts."""
    model = make_encoder(name, make_rows(1000)[0]["query"], device=device)
    with Stopwatch() as watch, TemporaryDirectory() as folder:
        window = Window(watch)
        trainer = make_trainer(contender, model, batch, steps, folder)
        trainer.add_callback(window)
        watch_parts(watch, trainer)
        trainer.train()
    parts = {part: seconds / steps for part, seconds in watch.seconds.items()}
    parts["trainer"] = window.seconds / steps - sum(parts.values())
    parts["sampler"] = window.plan / (steps + 2)
    return {"contender": contender, "model": name, "batch": batch, "step": sum(parts.values()), "parts": parts}


def lay_out(records: list[dict[str, Any]]) -> Table:
    """Make a table of the records."""
    table = Table(title="A training step, by part")
    for heading in ("model", "texts", "contender", "step", *THEIRS, *OURS, "ours"):
        table.add_column(heading, justify="right")
    for record in records:
        shares = {part: record["parts"].get(part, 0.0) / record["step"] for part in (*THEIRS, *OURS)}
        table.add_row(
            record["model"],
            str(record["batch"]),
            record["contender"],
            f"{record['step']:.3f} s",
            *(f"{share:.1%}" for share in shares.values()),
            f"{sum(shares[part] for part in OURS):.1%}",
        )
    return table


def main() -> None:
    """Measure every case, print a table, and write whole_step.json."""
    made = parser(__doc__, "whole_step", [512, 8192])
    made.add_argument("--models", nargs="+", default=["minilm", "static"], help="names of `make_encoder`")
    made.add_argument("--steps", type=int, default=2, help="timed steps")
    options = made.parse_args()
    if options.case:
        print(json.dumps(measure(**json.loads(options.case), device=options.device)))
        return
    records = []
    for name in options.models:
        for batch in options.batches:
            for contender in ("st_rankloss", "MNRL"):
                case = {"contender": contender, "name": name, "batch": batch, "steps": options.steps}
                records.append(in_own_process("eval.bench.whole_step", options.device, **case))
                print(records[-1], flush=True)
    save(options, words=WORDS, records=records)
    Console(width=160).print(lay_out(records))


if __name__ == "__main__":
    main()

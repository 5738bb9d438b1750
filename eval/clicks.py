"""Training on clicks: as they are, corrected by estimated propensities, and on the grades that the clicks come from.

    python -m eval.clicks --data DIR [--sessions 200 20] [--seeds 5]

BM25 shows its best documents for each training query of `nfcorpus` in many sessions, in an order that is shuffled a
little. A simulated user examines position p with probability 1 / p, and clicks an examined document by its grade, or by
mistake. The same encoder, word embeddings of all-MiniLM-L6-v2, is then trained by the same recipe on the same lists of
documents, with three kinds of labels:

    clicks      click rates, as `read_clicks` gives them with eta=0
    corrected   click rates by examination, which `read_clicks` estimates from the log
    grades      the grades that the user saw

The weights of documents are left out, so that labels alone differ.

Each gets the same trials on dev; its best setting is then scored on test, once per seed, which also draws the clicks.
The part of the gap that correcting closes is (corrected - clicks) / (grades - clicks). Runs that the file has are
skipped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from rich.console import Console
from rich.table import Table

from eval.kinds import fit, lexical, machine, score
from eval.tasks.data import Collection, Data, load_data
from eval.tasks.records import load_records
from eval.training.encoders import make_encoder
from st_rankloss import RankingTrainer, recipes
from st_rankloss.data import read_clicks

Row = dict[str, Any]

TASK = "nfcorpus"

DEPTH = 10
"""Documents shown per query."""

SHUFFLING = 1.5
"""Ranks by which a document moves for every unit of Gumbel noise."""

MISTAKES = 0.1
"""Share of examined documents of grade 0 that are clicked."""

LABELS = ("clicks", "corrected", "grades")

BATCH = 32

GRID = [{"rate": rate, "top": top} for rate, top in itertools.product((3e-3, 9e-3, 2.7e-2), (1.0, 3.0, 9.0))]
"""Trials on dev, the same for all labels: learning rate, and the number to which the largest label is scaled."""


def simulate(part: Collection, found: dict[str, dict[str, float]], sessions: int, seed: int) -> dict[str, list[Any]]:
    """Simulate a log: clicks and impressions by query, document and position, whose texts are their ids."""
    draw = np.random.default_rng(seed)
    best = max(grade for grades in part.qrels.values() for grade in grades.values())
    log: dict[str, list[Any]] = {"query": [], "document": [], "position": [], "clicks": [], "impressions": []}
    for query, ranking in found.items():
        documents, size = [*ranking], len(ranking)
        gain = np.exp2([part.qrels[query].get(document, 0) for document in documents]) - 1
        attraction = MISTAKES + (1 - MISTAKES) * gain / (2**best - 1)
        shown = np.argsort(np.arange(size) / SHUFFLING + draw.gumbel(size=(sessions, size)), -1)
        clicked = draw.random(shown.shape) < attraction[shown] / np.arange(1, size + 1)
        cells = shown * size + np.arange(size)
        impressions = np.bincount(cells.ravel(), minlength=size**2)
        clicks = np.bincount(cells.ravel(), clicked.ravel(), size**2)
        for cell in np.flatnonzero(impressions).tolist():
            log["query"].append(query)
            log["document"].append(documents[cell // size])
            log["position"].append(cell % size + 1)
            log["clicks"].append(int(clicks[cell]))
            log["impressions"].append(int(impressions[cell]))
    return log


def rows(part: Collection, found: dict[str, dict[str, float]], sessions: int, seed: int) -> dict[str, list[Row]]:
    """Lay out each query's documents with each kind of labels, scaled so that the largest is 1."""
    log = simulate(part, found, sessions, seed)
    given = {
        "clicks": read_clicks(log, eta=0.0).dataset.to_list(),
        "corrected": read_clicks(log, propensities="estimate").dataset.to_list(),
    }
    given["grades"] = [
        row | {"labels": [float(part.qrels[row["query"]].get(key, 0)) for key in row["documents"]]}
        for row in given["corrected"]
    ]
    laid_out = {}
    for labels, read_rows in given.items():
        largest = max(label for row in read_rows for label in row["labels"])
        laid_out[labels] = [
            {
                "query": part.queries[row["query"]],
                "documents": [part.corpus[key] for key in row["documents"]],
                "labels": [label / largest for label in row["labels"]],
            }
            for row in read_rows
        ]
    return laid_out


def train(data: Data, given: list[Row], setting: dict[str, float], seed: int) -> Any:
    """Train word embeddings on lists in a random order, once each."""
    model = make_encoder("static-minilm", [data], seed)
    order = np.random.default_rng(seed).permutation(len(given))[: len(given) // BATCH * BATCH]
    scaled = [
        given[place] | {"labels": [label * setting["top"] for label in given[place]["labels"]]} for place in order
    ]
    fit(
        RankingTrainer,
        model,
        recipes.retrieval().loss(model),
        Dataset.from_list(scaled),
        BATCH,
        setting["rate"],
        seed,
    )
    return model


def runs(done: list[dict[str, Any]], sessions: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what is left to run: trials on dev first, then the best of each kind of labels on test."""

    def finished(run: dict[str, Any]) -> dict[str, Any] | None:
        return next((each for each in done if all(each[key] == value for key, value in run.items())), None)

    of = {"task": TASK, "sessions": sessions}
    for labels, setting in itertools.product(LABELS, GRID):
        trial = {**of, "labels": labels, "setting": setting, "seed": 0, "split": "dev"}
        if not finished(trial):
            yield trial
    for seed, labels in itertools.product(range(seeds), LABELS):
        trials = [finished({**of, "labels": labels, "setting": setting, "split": "dev"}) or {} for setting in GRID]
        setting = max(trials, key=itemgetter("ndcg"))["setting"]
        run = {**of, "labels": labels, "setting": setting, "seed": seed, "split": "test"}
        if not finished(run):
            yield run


def table_of(done: list[dict[str, Any]]) -> Table:
    """Make a table of the runs on test, with the part of the gap that is closed."""
    trials = f"setting (best of {len(GRID)} on dev)"
    table = Table("sessions", "labels", trials, "nDCG@10 on test", "gap closed", title=machine())
    for sessions in sorted({run["sessions"] for run in done}):
        tests = [run for run in done if (run["sessions"], run["split"]) == (sessions, "test")]
        values = {labels: [run["ndcg"] for run in tests if run["labels"] == labels] for labels in LABELS}
        if min(map(len, values.values())) < 2:
            continue
        means = {labels: statistics.mean(own) for labels, own in values.items()}
        for labels in LABELS:
            setting = next(run["setting"] for run in tests if run["labels"] == labels)
            closed = (means[labels] - means["clicks"]) / (means["grades"] - means["clicks"])
            spread = statistics.stdev(values[labels])
            found = f"{means[labels]:.4f} ± {spread:.4f}"
            table.add_row(str(sessions), labels, str(setting), found, f"{closed:.2f}")
    return table


def main() -> None:
    """Run what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sessions", type=int, nargs="+", default=[200, 20], help="sessions per query")
    parser.add_argument("--seeds", type=int, default=5, help="seeds on test; 0 only tunes")
    parser.add_argument("--output", type=Path, default=Path("output/clicks/runs.jsonl"), help="file of results")
    options = parser.parse_args()
    data = load_data(load_records()[TASK], options.data)
    part: Collection = data.parts["train"]
    shown = cache(partial(rows, part, lexical(part, DEPTH)))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    for run in (run for sessions in options.sessions for run in runs(done, sessions, options.seeds)):
        start = time.perf_counter()
        model = train(data, shown(run["sessions"], run["seed"])[run["labels"]], run["setting"], run["seed"])
        seconds = time.perf_counter() - start
        ndcg = score("dense", model, data.parts[run["split"]])
        done.append({**run, "ndcg": ndcg, "seconds": seconds, "machine": machine()})
        print(done[-1], flush=True)
        with options.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
    Console(width=140).print(table_of(done))


if __name__ == "__main__":
    main()

"""Clean data of every task, drawn at random, in which no check may find a mistake."""

from __future__ import annotations

import random

from datasets import Dataset

from st_rankloss.data import Part

ROWS = 120
NOUNS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "tu", "re") for b in ("ben", "dal", "sor") for c in ("a", "is", "um")]


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(NOUNS) for _ in range(words))


def texts(draw: random.Random, count: int = ROWS, words: int = 7) -> list[str]:
    found = {sentence(draw, words): None for _ in range(2 * count)}
    return list(found)[:count]


def clean(task: str, seed: int = 0) -> dict[str, list]:
    """Columns of rows of a task."""
    draw = random.Random(f"{task} {seed}")
    rows = range(ROWS)
    if task == "retrieval":
        documents = texts(draw, 4 * ROWS, 12)
        grades = [draw.sample([3.0, 2.0, 1.0, 0.0], 4) for _ in rows]
        return {
            "query": texts(draw, words=4),
            "documents": [documents[4 * i : 4 * i + 4] for i in rows],
            "labels": grades,
            "query_id": [f"q{seed}-{i}" for i in rows],
            "document_ids": [[f"d{seed}-{4 * i + j}" for j in range(4)] for i in rows],
        }
    if task == "sts":
        pair = texts(draw, 2 * ROWS)
        return {"sentence1": pair[:ROWS], "sentence2": pair[ROWS:], "label": [draw.uniform(0, 5) for _ in rows]}
    if task == "image_text":
        return {"image": [f"photos/{word}.png" for word in texts(draw)], "caption": texts(draw)}
    if task == "self_supervised":
        return {"text": texts(draw)}
    label = {
        "classification": lambda: draw.choice(["cat", "dog", "bird", "fish"]),
        "hierarchy": lambda: draw.choice([["animal", "cat"], ["animal", "dog"], ["plant", "oak"], ["plant", "rose"]]),
        "multi_label": lambda: draw.sample(["red", "blue", "green", "black", "white"], draw.randint(1, 3)),
        "regression": lambda: draw.gauss(10, 2),
    }[task]
    return {"text": texts(draw), "label": [label() for _ in rows]}


def part(task: str, columns: dict[str, list], **judged: dict) -> Part:
    return Part(task, Dataset.from_dict(columns), **judged)


def judged(columns: dict[str, list]) -> dict[str, dict]:
    """Queries, corpus and qrels by id of the rows of retrieval."""
    rows = list(zip(*(columns[name] for name in ("query_id", "document_ids", "documents", "labels")), strict=True))
    return {
        "queries": dict(zip(columns["query_id"], columns["query"], strict=True)),
        "corpus": {i: text for _, ids, documents, _ in rows for i, text in zip(ids, documents, strict=True)},
        "qrels": {query: dict(zip(ids, grades, strict=True)) for query, ids, _, grades in rows},
    }

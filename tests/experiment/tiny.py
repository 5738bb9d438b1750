"""Small data for runs: one part of each task, with something to learn."""

from __future__ import annotations

import json
import random
from itertools import combinations

import numpy as np
from datasets import Dataset
from PIL import Image

from st_rankloss.data import Part

COLOURS = ("red", "blue", "green", "black")
THINGS = ("rose", "sky", "leaf", "night", "boat", "car", "hat", "tree", "house", "river")


def texts(count, seed=0):
    """Texts of four topics: a colour, which tells the topic, and four of ten things, never the same four twice."""
    chosen = random.Random(seed).sample(list(combinations(THINGS, 4)), count)
    return [" ".join([COLOURS[i % 4], *things]) for i, things in enumerate(chosen)]


def part(task, count=48, seed=0):
    """A part of a task."""
    rows = texts(count, seed)
    topics = [i % 4 for i in range(count)]
    if task == "retrieval":
        corpus = {f"d{i}": text for i, text in enumerate(texts(40, seed=1))}
        queries = {f"q{i}": f"{COLOURS[i % 4]} {THINGS[i % 10]} {i}" for i in range(count)}
        qrels = {
            query: {f"d{j}": float(2 * (i % 4 == j % 4)) for j in range(i % 7, 40, 5)}
            for i, query in enumerate(queries)
        }
        columns = {
            "query": list(queries.values()),
            "documents": [[corpus[d] for d in judged] for judged in qrels.values()],
            "labels": [list(judged.values()) for judged in qrels.values()],
            "query_id": list(queries),
            "document_ids": [list(judged) for judged in qrels.values()],
        }
        return Part(task, Dataset.from_dict(columns), queries, corpus, qrels)
    if task == "sts":
        others = texts(count, seed + 1)[::-1]
        scores = [float(len(set(a.split()) & set(b.split()))) for a, b in zip(rows, others, strict=True)]
        return Part(task, Dataset.from_dict({"sentence1": rows, "sentence2": others, "label": scores}))
    if task == "image_text":
        images = [Image.fromarray(np.full((8, 8, 3), 60 * topic, dtype=np.uint8)) for topic in topics]
        return Part(task, Dataset.from_dict({"image": images, "caption": rows}))
    labels = {
        "classification": [COLOURS[topic] for topic in topics],
        "hierarchy": [["warm" if topic == 0 else "cold", COLOURS[topic]] for topic in topics],
        "multi_label": [[COLOURS[topic], row.split()[1]] for topic, row in zip(topics, rows, strict=True)],
        "regression": [float(topic) for topic in topics],
    }
    return Part(task, Dataset.from_dict({"text": rows} | ({"label": labels[task]} if task in labels else {})))


def beir(folder, count=48):
    """Write the retrieval part as a folder of BEIR, with train, dev and test judgements."""
    whole = part("retrieval", count)
    (folder / "qrels").mkdir(parents=True)
    for name, texts_ in (("corpus", whole.corpus), ("queries", whole.queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts_.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for place, name in enumerate(("train", "train", "dev", "test")):
        path = folder / "qrels" / f"{name}.tsv"
        lines = [] if path.exists() else ["query-id\tcorpus-id\tscore"]
        for i, (query, judged) in enumerate(whole.qrels.items()):
            if i % 4 == place:
                lines += [f"{query}\t{document}\t{grade:g}" for document, grade in judged.items()]
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return folder

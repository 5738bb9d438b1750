"""Scores of a model on a part: one value per query, row or pair, whose mean is the metric.

==================  ==================================================================================================
task                metrics, the main one first
==================  ==================================================================================================
retrieval           nDCG@10 by the grades; MRR@10 and recall@100 of the documents with a grade above 0
sts                 Spearman and Pearson correlation of cosine and score
classification,     nDCG@10 of each row's search among the other rows; accuracy of the vote of the ten nearest training
hierarchy           rows, on the finest classes
multi_label         nDCG@10 by Jaccard similarity
regression          nDCG@10 by distance; Spearman correlation of the mean of the ten nearest training rows
image_text          nDCG@10 of images that search captions and captions that search images, by classes, paths or sets
                    of labels if there are any; else captions of the same image, and equal ones, are relevant
self_supervised     nDCG@10 of altered copies, shortened texts or cropped images, that search their originals
==================  ==================================================================================================
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, rankdata
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.data import Part
from st_rankloss.data.captions import grade_captions
from st_rankloss.data.contents import number_contents
from st_rankloss.data.drawing import draw_rows
from st_rankloss.data.guessing import task_of_labels
from st_rankloss.encoding import encode_labels
from st_rankloss.evaluation import GradedInformationRetrievalEvaluator, Shards
from st_rankloss.experiment.views import copy_of
from st_rankloss.functional import ndcg
from st_rankloss.functional.checks import NotFiniteError
from st_rankloss.labels import is_missing, read_numbers
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Relevance
from st_rankloss.relevance.matrix import map_labels

Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]

MOST_QUERIES = 2_000
"""Rows that search among the others, drawn at random; all rows are found."""

NEIGHBOURS = 10

_MOST_VOTERS = 20_000

_ROWS = 256  # queries compared with all documents at a time

_BELOW_ALL = -2.0  # no cosine is as low

_SLICE = 4_096  # inputs in memory at a time: images are decoded when they are read

RELEVANCE: dict[str, Relevance] = {
    "classification": Classes(),
    "hierarchy": Hierarchy(),
    "multi_label": MultiLabel("jaccard"),
    "regression": Numeric(),
}


@dataclass(frozen=True)
class Scores:
    """Values of each item by metric, and what the model found for it.

    Args:
        values: Metric to values in the order of the items, NaN where undefined; the main metric comes first.
        items: The queries, rows or pairs, as text.
        found: What the model found for each item, best first, as lines of text.
    """

    values: dict[str, Floats]
    items: Sequence[str]
    found: Sequence[Sequence[str]]

    @property
    def main(self) -> str:
        """Name of the main metric."""
        return next(iter(self.values))

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the items where it is defined."""
        return {metric: float(np.nanmean(values)) for metric, values in self.values.items()}


def score(
    model: SentenceTransformer,
    part: Part,
    train: Part | None = None,
    *,
    batch_size: int = 64,
    corpus_embeddings: Shards | str | os.PathLike[str] | None = None,
) -> Scores:
    """Score a model on a part, by the table above.

    Args:
        model: The model.
        part: The part, not streaming.
        train: The training part, whose rows vote; None leaves the votes out.
        batch_size: Inputs encoded at a time, at least 1.
        corpus_embeddings: Where those of the documents are kept on disk, for retrieval: `Shards` or a folder.

    Returns:
        The scores. Time: one encoding of the part, and O(rows · queries · dimensions).

    Raises:
        ValueError: If no item has a defined value, such as in a part whose classes all have one row; an image cannot be
            read, or the model embeds no images; an embedding is not finite (`NotFiniteError`); or
            ``corpus_embeddings`` are given for another task than retrieval.

    Example:
        >>> from datasets import Dataset
        >>> from st_rankloss.encoders import make_encoder
        >>> rows = Dataset.from_dict({"text": ["red rose", "red tulip", "blue sky"], "label": [0, 0, 1]})
        >>> scores = score(make_encoder("static", rows["text"]), Part("classification", rows))
        >>> scores.main, len(scores.items), bool(np.isnan(scores.values["ndcg@10"][2]))
        ('ndcg@10', 3, True)
    """
    if corpus_embeddings is not None and part.task != "retrieval":
        raise ValueError(
            f"{part.source or 'the data'}: only documents of retrieval have embeddings to keep, got data for "
            f"{part.task}: leave them out."
        )
    check_images(part, getattr(model, "modalities", ("image",)))
    was_training = model.training
    model.eval()
    if part.task == "retrieval":
        with _card_unchanged(model):
            scores = _score_retrieval(model, part, batch_size, corpus_embeddings)
    else:
        scores = _SCORERS[part.task](partial(_encode, model, batch_size), part, train)
    model.train(was_training)
    if np.isnan(scores.values[scores.main]).all():
        why = "no pair has a score" if part.task == "sts" else "nothing is relevant to anything"
        raise ValueError(
            f"{part.source or 'the data'}: {scores.main} is undefined for all {len(scores.items)} items: {why}."
        )
    return scores


def check_images(part: Part, modalities: Sequence[str], name: str = "") -> None:
    """Raise a ValueError if a part holds images, and a model of these modalities embeds none.

    Args:
        part: The part.
        modalities: Those of the model, such as ``["text"]``.
        name: Name of the model, for the message.
    """
    if "image" in part.input_columns and "image" not in modalities:
        model = f"the model {name!r}" if name else "the model"
        raise ValueError(
            f"{part.source or 'the data'} holds images, and {model} reads only {', '.join(modalities)}: name a model "
            "of images, such as sentence-transformers/clip-ViT-B-32."
        )


Encode = Callable[[Sequence[Any]], Tensor]


def _encode(model: SentenceTransformer, batch_size: int, inputs: Sequence[Any]) -> Tensor:
    """Encode a list or a column in slices, or raise NotFiniteError; the options are the only ones all tasks share."""
    options: dict[str, Any] = {"batch_size": batch_size, "convert_to_tensor": True, "show_progress_bar": False}
    starts = range(0, len(inputs) or 1, _SLICE)
    embeddings = torch.cat([model.encode(_decoded(inputs, start), **options) for start in starts])
    if not embeddings.isfinite().all():
        raise NotFiniteError(
            "embeddings must be finite, got NaN or infinity: the model has probably diverged. Lower the learning rate."
        )
    return embeddings


def _decoded(inputs: Sequence[Any], start: int) -> list[Any]:
    """Return a slice of inputs, whose images are decoded now; raise ValueError that names the row of a broken one."""
    try:
        return list(inputs[start : start + _SLICE])
    except (OSError, SyntaxError) as error:  # as Pillow raises them
        for row in range(start, min(start + _SLICE, len(inputs))):
            try:
                inputs[row]
            except (OSError, SyntaxError):
                raise ValueError(
                    f"column 'image' must hold images that can be read, got {error} in row {row}: save it again, or "
                    "remove the row."
                ) from error
        raise


def _score_retrieval(model: SentenceTransformer, part: Part, batch_size: int, corpus_embeddings: Any) -> Scores:
    evaluator = GradedInformationRetrievalEvaluator(
        part.queries,
        part.corpus,
        part.qrels,
        relevance_level=lowest_grade(part),
        recall_at_k=(100,),
        batch_size=batch_size,
        corpus_embeddings=corpus_embeddings,
        write_csv=False,
    )
    evaluator(model)
    metrics = ("ndcg@10", "mrr@10", "recall@100")
    rows = evaluator.per_query
    values = {metric: np.array([row[metric] for row in rows.values()]) for metric in metrics}
    found = [
        [f"{part.qrels[query].get(d, 0):g}  {part.corpus[d]}" for d in list(evaluator.rankings[query])[:3]]
        for query in rows
    ]
    return Scores(values, [str(part.queries[query]) for query in rows], found)


@contextlib.contextmanager
def _card_unchanged(model: SentenceTransformer) -> Iterator[None]:
    """Keep the scores of every evaluation out of the model card."""
    card = model.model_card_data
    kept = dict(card.eval_results_dict), list(card.training_logs)
    yield
    card.eval_results_dict, card.training_logs = kept


def lowest_grade(part: Part) -> float:
    """Return the lowest grade above 0, from which documents count as relevant; 1 if there is none."""
    return min((g for judged in part.qrels.values() for g in judged.values() if g > 0), default=1)


def _score_pairs(encode: Encode, part: Part, train: Part | None) -> Scores:
    first, second = part.dataset["sentence1"][:], part.dataset["sentence2"][:]
    cosines = F.cosine_similarity(encode(first), encode(second)).double().cpu().numpy()
    truth = read_numbers(part.dataset["label"][:], "label")
    known = ~np.isnan(truth)
    values = {"spearman": np.full(len(truth), np.nan), "pearson": np.full(len(truth), np.nan)}
    values["spearman"][known] = correlation_items(rankdata(cosines[known]), rankdata(truth[known]))
    values["pearson"][known] = correlation_items(cosines[known], truth[known])
    items = [f"{a} | {b} ({t:g})" for a, b, t in zip(first, second, truth, strict=True)]
    return Scores(values, items, [[f"cosine {cosine:.3f}"] for cosine in cosines])


def _score_labelled(encode: Encode, part: Part, train: Part | None) -> Scores:
    (column,) = part.input_columns
    labels, relevance = part.dataset["label"][:], RELEVANCE[part.task]
    embeddings = F.normalize(encode(part.dataset[column]), dim=1)
    encoded = _encoded(labels, relevance)
    queries = draw_rows(len(labels), MOST_QUERIES)
    values, nearest = [], []
    for rows in torch.tensor(queries).split(_ROWS):
        grades = relevance(map_labels(partial(_rows, rows=rows), encoded), encoded).float()
        grades.scatter_(1, rows[:, None], torch.nan)
        found = _search(embeddings[rows], embeddings, grades)
        values.append(found[0])
        nearest += found[1]
    metrics = {"ndcg@10": np.concatenate(values)}
    if train is not None:
        metrics |= _votes(encode, embeddings[queries], [labels[i] for i in queries], train)
    names = [f"{name} ({_shown(label)})" for name, label in zip(_names(part), labels, strict=True)]
    return Scores(metrics, [names[i] for i in queries], [[names[i] for i in row] for row in nearest])


def _votes(encode: Encode, queries: Tensor, labels: Sequence[Any], train: Part) -> dict[str, Floats]:
    """Predict labels by the nearest training rows: classes by their vote, numbers by their mean."""
    if train.task not in ("classification", "hierarchy", "regression"):
        return {}
    rows = draw_rows(len(train), _MOST_VOTERS)
    numeric, given = train.task == "regression", train.dataset["label"][rows]
    targets = read_numbers(given, "label") if numeric else np.array([_finest(label) for label in given], dtype=object)
    known = ~np.isnan(targets) if numeric else np.array([target is not None for target in targets], dtype=bool)
    if targets.ndim > 1 or not known.any():
        return {}
    (column,) = train.input_columns
    kept = train.dataset.select([row for row, there in zip(rows, known, strict=True) if there])
    similarity = queries @ F.normalize(encode(kept[column]), dim=1).T
    nearest = targets[known][similarity.topk(min(NEIGHBOURS, len(kept))).indices.cpu().numpy()]
    if numeric:
        predicted, truth = nearest.mean(1), read_numbers(labels, "label")
        defined = ~np.isnan(truth)
        values = np.full(len(truth), np.nan)
        values[defined] = correlation_items(rankdata(predicted[defined]), rankdata(truth[defined]))
        return {"spearman of neighbours": values}
    winners = [max(dict.fromkeys(vote), key=vote.count) for vote in nearest.tolist()]
    wanted = [_finest(label) for label in labels]
    hits = [np.nan if own is None else float(won == own) for won, own in zip(winners, wanted, strict=True)]
    return {"accuracy of neighbours": np.array(hits)}


def _finest(label: Any) -> str | None:
    """Return a label as one string, joining the levels of a path, or None if it is missing."""
    levels = [level for level in (label if isinstance(label, list) else [label]) if not is_missing(level, code=True)]
    return "\x1f".join(map(str, levels)) if levels else None


def _score_captions(encode: Encode, part: Part, train: Part | None) -> Scores:
    captions = part.dataset["caption"][:]
    images = F.normalize(encode(part.dataset["image"]), dim=1)
    texts = F.normalize(encode(captions), dim=1)
    task = part.labels or task_of_labels(part.dataset)
    graded = task != "regression" and task in RELEVANCE
    rows = part.dataset if graded else part.dataset.select_columns(["image", "caption"])
    found = []
    for start, grades in grade_captions(rows, RELEVANCE[task] if graded else None):
        block = slice(start, start + len(grades))
        found.append((*_search(images[block], texts, grades), _search(texts[block], images, grades)[0]))
    there, best, back = zip(*found, strict=True)
    values = {"image to caption": np.concatenate(there), "caption to image": np.concatenate(back)}
    both = np.mean([*values.values()], axis=0)
    shown = [[captions[i] for i in row] for block in best for row in block]
    return Scores({"ndcg@10": both, **values}, captions, shown)


def _score_copies(encode: Encode, part: Part, train: Part | None) -> Scores:
    (column,) = part.input_columns
    inputs, names, alter = part.dataset[column], _names(part), copy_of(part)
    chosen = draw_rows(len(inputs), MOST_QUERIES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        altered = [alter(inputs[row]) for row in chosen]
    copies, embeddings = (F.normalize(encode(given), dim=1) for given in (altered, inputs))
    codes = number_contents(part.dataset, column)
    values, best = [], []
    for vectors, wanted in zip(copies.split(_ROWS), codes[chosen].split(_ROWS), strict=True):
        found = _search(vectors, embeddings, (wanted[:, None] == codes).float())
        values.append(found[0])
        best += found[1]
    items = [names[row] for row in chosen] if column == "image" else altered
    return Scores({"ndcg@10": np.concatenate(values)}, items, [[names[i] for i in row] for row in best])


def _names(part: Part) -> list[str]:
    """Name the inputs of a part: by their text, or images by their row."""
    (column,) = part.input_columns
    return [f"image {row}" for row in range(len(part))] if column == "image" else list(part.dataset[column][:])


def _search(queries: Tensor, documents: Tensor, grades: Tensor) -> tuple[Floats, list[list[int]]]:
    """Return nDCG@10 of each query, and its best three documents; those whose grade is NaN are left out."""
    similarity = (queries @ documents.T).float().cpu().masked_fill(grades.isnan(), _BELOW_ALL)
    best, places = similarity.topk(min(3, len(documents)))
    found = [row[there].tolist() for row, there in zip(places, best > _BELOW_ALL, strict=True)]
    return ndcg(similarity, grades, k=10).double().numpy(), found


_SCORERS: dict[str, Callable[[Encode, Part, Part | None], Scores]] = {
    "sts": _score_pairs,
    **dict.fromkeys(RELEVANCE, _score_labelled),
    "image_text": _score_captions,
    "self_supervised": _score_copies,
}


def correlation_items(predicted: Numbers, truth: Numbers) -> Floats:
    """Write a Pearson correlation as a mean over its pairs; 0 where one side is constant.

    Each pair's value is the correlation plus its influence, z·w - r·(z² + w²) / 2, for z and w its standardised values:
    the mean is the correlation, and resampling the values gives its error to first order.

    Args:
        predicted: Shape ``(pairs,)``.
        truth: Shape ``(pairs,)``.

    Returns:
        Shape ``(pairs,)``.

    Example:
        >>> float(correlation_items(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])).mean().round(3))
        0.8000
    """
    z, w = ((x - x.mean()) / (x.std() or 1.0) for x in map(np.asarray, (predicted, truth)))
    correlation = float(pearsonr(predicted, truth).statistic) if z.any() and w.any() else 0.0
    items: Floats = correlation + z * w - correlation * (z**2 + w**2) / 2
    return items


def _encoded(labels: Sequence[Any], relevance: Relevance) -> Any:
    kind = relevance.reads[0]
    return relevance.pair(encode_labels(labels, "label", kind), [len(labels)])[0]


def _rows(labels: Tensor, rows: Tensor) -> Tensor:
    return labels[rows]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " > ".join(map(_shown, value))
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)

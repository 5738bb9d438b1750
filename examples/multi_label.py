"""Embeddings in which texts with similar sets of labels are near each other, from text + [labels].

    python examples/multi_label.py [--data DATA --text-column text --labels-column labels] [--model minilm]

Without ``--data``: first sentences of functions' docstrings, labelled with the names of the parameters that the
docstring mentions, if they are names of at least 20 functions. Relevance is the Jaccard index of two sets. Scores, on
modules never trained on: nDCG@10 of the test texts ranked for each other by Jaccard, and label ranking average
precision (LRAP) of the labels of the 20 nearest training texts. The usual losses are softmax cross-entropies: SupCon,
for which two texts are related if they share any label, and the same with Jaccard as soft target.

Test, seed 0 (20,000 objects, 3 epochs; learning rates and temperatures tuned on dev, nine trials for each softmax,
eighteen for A-NDCG with both gains): nDCG@10 .396 with SupCon, .401 with softmax, .413 with A-NDCG; LRAP .406, .418,
.415: there, softmax is a little better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import shared
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer
from sklearn.metrics import label_ranking_average_precision_score

from st_rankloss import ANDCGLoss, RankingLoss, SoftmaxCrossEntropy, samplers
from st_rankloss.encoders import make_encoder
from st_rankloss.relevance import MultiLabel

LEAST = 20
"""Texts that a label must have."""

LOSSES = {
    "SupCon": (
        lambda model: RankingLoss(
            model, objective=SoftmaxCrossEntropy(temperature=0.2), relevance=lambda q, d: MultiLabel()(q, d) > 0
        ),
        {"learning_rate": 0.1},
    ),
    "softmax": (
        lambda model: RankingLoss(
            model, objective=SoftmaxCrossEntropy(temperature=0.1), relevance=MultiLabel("jaccard")
        ),
        {"learning_rate": 0.1},
    ),
    "A-NDCG": (
        lambda model: ANDCGLoss(model, relevance=MultiLabel("jaccard"), temperature=0.03, gain="exponential"),
        {"learning_rate": 0.1},
    ),
}


def keep_frequent(data: DatasetDict) -> DatasetDict:
    """Leave out labels with fewer than `LEAST` training texts, and texts without labels."""
    counts = Counter(name for names in data["train"]["label"] for name in names)
    data = data.map(lambda row: {"label": [name for name in row["label"] if counts[name] >= LEAST]})
    return data.filter(lambda row: bool(row["label"]))


def evaluate(model: SentenceTransformer, train: Dataset, test: Dataset) -> shared.Scores:
    """Rank the test texts for each other, and labels for each by its nearest training texts."""
    place = {name: i for i, name in enumerate(sorted({name for names in train["label"] for name in names}))}
    known, new = (torch.nn.functional.normalize(shared.embed(model, part["text"]), dim=1) for part in (train, test))
    hot = [torch.zeros(len(part), len(place)) for part in (train, test)]
    for flags, part in zip(hot, (train, test), strict=True):
        for row, names in enumerate(part["label"]):
            flags[row, [place[name] for name in names]] = 1
    similarity, nearest = (new @ known.T).topk(min(20, len(known)), dim=1)
    votes = (hot[0][nearest] * similarity.clamp_min(0)[..., None]).sum(1)
    return {
        "nDCG@10": shared.neighbour_ndcg(new, MultiLabel("jaccard")(hot[1], hot[1]), k=10),
        "LRAP": float(label_ranking_average_precision_score(hot[1].numpy(), votes.numpy())),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, shared.Scores]:
    """Compare the losses."""
    columns = {"text": "text", "labels": "label"}
    options = shared.parse_options(__doc__, arguments, columns=columns, losses=list(LOSSES))
    data = shared.read(options, "multi_label", lambda entry: {"text": entry.query, "label": list(entry.parameters)})
    data = keep_frequent(data)
    model = make_encoder(options.model, data["train"]["text"][:], seed=options.seed, vocabulary=shared.VOCABULARY)
    batches = {"batch_sampler": samplers.multi_label(per_label=4)}
    names = {name for names in data["train"]["label"] for name in names}
    losses = {name: (make, batches | settings) for name, (make, settings) in LOSSES.items()}
    evaluated = partial(evaluate, train=data["train"], test=data[options.split])
    return shared.compare(
        f"{len(names)} labels, {len(data[options.split])} texts", model, losses, data["train"], evaluated, options
    )


if __name__ == "__main__":
    main()

"""A small fast model that ranks as a large slow one does: distillation by the order of similarities.

    python examples/distillation.py [--data DATA --text-column text] [--teacher minilm] [--model static]

Without ``--data``: first sentences of docstrings. The teacher, all-MiniLM-L6-v2, embeds them once; its embeddings are
the labels. A text's relevance for another is the teacher's cosine, cut off below a threshold. Scores, on modules never
trained on: nDCG@10 of the student's ranking, graded by the teacher's cosines, and the Spearman correlation of the two
models' cosines. The usual loss is the squared error of the student's embeddings, which must have the teacher's size.

Test, seed 0 (4,000 objects, 10 epochs; tuned on dev: eight learning rates for MSE, five learning rates by up to three
temperatures and three thresholds for A-NDCG): nDCG@10 .502 with MSE, .643 with A-NDCG; Spearman .219, .457.
"""

from __future__ import annotations

from collections.abc import Sequence

import shared
import torch
from datasets import Dataset
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.losses import MSELoss

from st_rankloss import ANDCGLoss
from st_rankloss.encoders import make_encoder
from st_rankloss.relevance import Vectors
from st_rankloss.teachers import add_embeddings

GRADED = Vectors(threshold=0.2)
"""Relevance by the teacher's embeddings, of training and of the test."""


def evaluate(model: SentenceTransformer, test: Dataset) -> shared.Scores:
    """Compare the student's ranking of the test texts for each other with the teacher's."""
    student = torch.nn.functional.normalize(shared.embed(model, test["text"]), dim=1)
    teacher = torch.nn.functional.normalize(torch.tensor(test["label"][:]), dim=1)
    above = torch.triu_indices(len(student), len(student), offset=1)
    cosines = [(x[above[0][::7]] * x[above[1][::7]]).sum(1) for x in (student, teacher)]  # every seventh pair
    return {
        "nDCG@10": shared.neighbour_ndcg(student, GRADED(teacher, teacher), k=10),
        "Spearman": float(spearmanr(*cosines).statistic),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, shared.Scores]:
    """Compare the losses."""
    columns = {"text": "text", "teacher": "teacher"}
    options = shared.parse_options(
        __doc__, arguments, columns=columns, losses=["MSE", "A-NDCG"], limit=4_000, epochs=10.0
    )
    teacher = make_encoder(str(options.columns.pop("teacher", "minilm")))
    data = shared.read(options, "self_supervised", lambda entry: {"text": entry.query})
    for split in {"train", options.split}:
        data[split] = add_embeddings(data[split], teacher, ["text"], batch_size=64)
    size = len(data["train"]["label"][0])
    model = make_encoder(
        options.model, data["train"]["text"][:], seed=options.seed, vocabulary=shared.VOCABULARY, dimensions=size
    )
    plain = SentenceTransformerDataCollator(model.preprocess)  # MSELoss reads a plain tensor of labels
    return shared.compare(
        f"{len(data['train'])} texts to learn from, {len(data[options.split])} to rank",
        model,
        {
            "MSE": (lambda model: MSELoss(model), {"learning_rate": 0.5, "data_collator": plain}),
            "A-NDCG": (lambda model: ANDCGLoss(model, relevance=GRADED, temperature=0.03), {"learning_rate": 0.2}),
        },
        data["train"],
        lambda trained: evaluate(trained, data[options.split]),
        options,
    )


if __name__ == "__main__":
    main()

"""Batches of thousands on a machine for dozens, by gradient caching; and the same on several machines.

    python examples/large_batch.py [--data DATA --query-column query --document-column document]
    torchrun --nproc_per_node=8 examples/large_batch.py

Without ``--data``: first sentences of docstrings and the documents they begin, in a batch of 512 pairs; a small BERT
from scratch embeds 64 texts at a time. Every query ranks all the batch's documents, and with torchrun those of all
processes. Scores, on modules never trained on: nDCG@10 and MRR@10 of the right document. The usual loss is
CachedMultipleNegativesRankingLoss; "A-NDCG, batch of 64" is what fits without caching, in as many epochs.

Test, seed 0: CachedMultipleNegativesRankingLoss nDCG@10 .499, MRR@10 .446; A-NDCG in batches of 64 .531 and .479, in
batches of 512 .532 and .480. So few pairs gain little from the larger batch (on dev the smaller one led, .474 to .466);
what the caching buys here is memory. Learning rates, and the scale of the usual loss, were tuned on dev.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial

import shared
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from st_rankloss import ANDCGLoss, CachedANDCGLoss, GradedInformationRetrievalEvaluator
from st_rankloss.data import Part
from st_rankloss.encoders import make_encoder, train_tokenizer

MINI_BATCH = 64

LOSSES = {
    "CachedMNRL": (
        lambda model: CachedMultipleNegativesRankingLoss(
            model, scale=20, mini_batch_size=MINI_BATCH, gather_across_devices=True
        ),
        {"learning_rate": 3e-3},
    ),
    "A-NDCG, batch of 64": (
        lambda model: ANDCGLoss(model, gather_across_devices=True),
        {"learning_rate": 1e-2, "per_device_train_batch_size": MINI_BATCH},
    ),
    "A-NDCG": (
        lambda model: CachedANDCGLoss(model, mini_batch_size=MINI_BATCH, gather_across_devices=True),
        {"learning_rate": 1e-2},
    ),
}


def make_bert(texts: Sequence[str], *, width: int = 64, layers: int = 1) -> SentenceTransformer:
    """Make a small BERT with random weights, and a tokenizer trained on the texts."""
    tokenizer = train_tokenizer(texts, 4_000, ["[PAD]"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=32)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=32,
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        fast.save_pretrained(folder)
        transformer = Transformer(folder)
    return SentenceTransformer(modules=[transformer, Pooling(width)])


def best_pairs(part: Part) -> Dataset:
    """Pair each query with the document of its highest grade; leave out queries without a relevant one."""
    rows = part.dataset.select_columns(["query", "documents", "labels"])
    rows = rows.filter(lambda row: max(grade or 0 for grade in row["labels"]) > 0)
    best = [row["documents"][max(range(len(row["labels"])), key=lambda i: row["labels"][i] or 0)] for row in rows]
    return Dataset.from_dict({"query": rows["query"][:], "document": best})


def evaluate(model: SentenceTransformer, test: Dataset) -> shared.Scores:
    """Search the test documents."""
    queries, corpus = ({str(i): text for i, text in enumerate(test[name])} for name in ("query", "document"))
    qrels = {i: {i: 1} for i in queries}
    evaluator = GradedInformationRetrievalEvaluator(queries, corpus, qrels, batch_size=256, write_csv=False)
    scores = evaluator(model)
    return {metric: scores[f"{model.similarity_fn_name}_{metric}"] for metric in ("ndcg@10", "mrr@10")}


def main(arguments: Sequence[str] | None = None) -> dict[str, shared.Scores]:
    """Compare the losses."""
    columns = {"query": "query", "document": "positive"}
    defaults = {"model": "bert", "limit": 6_000, "epochs": 6.0, "batch_size": 512}
    options = shared.parse_options(__doc__, arguments, columns=columns, losses=list(LOSSES), **defaults)
    if options.data:
        data = DatasetDict({name: best_pairs(part) for name, part in shared.read_parts(options, "retrieval").items()})
    else:
        data = shared.read_documentation(
            options.limit, lambda entry: {"query": entry.query, "document": entry.document}
        )
    texts = data["train"]["query"][:] + data["train"]["document"][:]
    model = (
        make_bert(texts)
        if options.model == "bert"
        else make_encoder(options.model, texts, seed=options.seed, vocabulary=shared.VOCABULARY)
    )
    evaluated = partial(evaluate, test=data[options.split])
    return shared.compare(
        f"{len(data['train'])} pairs, {len(data[options.split])} queries",
        model,
        LOSSES,
        data["train"],
        evaluated,
        options,
    )


if __name__ == "__main__":
    main()

"""Training end to end: every dataset shape, through the trainers of sentence-transformers, on tiny models."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import mine_hard_negatives

from st_rankloss import ANDCGLoss, ApproxNDCG, RankingCollator, RankingLoss, RankingTrainer, SoftmaxCrossEntropy
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Relevance
from tests import oracle
from tests.models import (
    agreement,
    each_with_each,
    nearness,
    quarter_deviations,
    same_class,
    shared_levels,
    tiny_bert,
    watched,
    without_self,
    word_model,
    word_tokenizer,
)

CLASSES, PER_CLASS, ROWS = 6, 10, 48
NOISE = [f"noise{i}" for i in range(30)]
WORDS = [f"c{c}w{i}" for c in range(CLASSES) for i in range(PER_CLASS)] + NOISE + ["query:", "document:"]


def text_about(topic: int, draw: random.Random) -> str:
    """Two words of the topic among four that say nothing."""
    words = [f"c{topic}w{draw.randrange(PER_CLASS)}" for _ in range(2)] + draw.choices(NOISE, k=4)
    draw.shuffle(words)
    return " ".join(words)


def texts_about(topics: list[int], seed: int) -> list[str]:
    draw = random.Random(seed)
    return [text_about(topic, draw) for topic in topics]


TOPICS = [row % CLASSES for row in range(ROWS)]
QUERIES, DOCUMENTS = texts_about(TOPICS, 1), texts_about(TOPICS, 2)


def arguments(folder, **options) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 24,
            "per_device_eval_batch_size": 24,
            "max_steps": 12,
            "learning_rate": 0.1,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 1,
        }
        | options
    )


def trained(
    model, dataset, loss, folder, trainer_class=SentenceTransformerTrainer, callbacks=None, eval_dataset=None, **options
):
    """Train, and return the trainer."""
    trainer = trainer_class(
        model=model,
        args=arguments(folder, **options),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        loss=loss,
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def mean_ndcg(model: SentenceTransformer, queries, documents, relevance) -> float:
    """NDCG with exact ranks of every query over all documents, by loops."""
    embeddings = [
        model.encode(texts, convert_to_tensor=True, normalize_embeddings=True) for texts in (queries, documents)
    ]
    similarity = (embeddings[0] @ embeddings[1].T).tolist()
    values = [oracle.ndcg(s, y) for s, y in zip(similarity, relevance, strict=True) if oracle.ideal_dcg(y) > 0]
    return sum(values) / len(values)


def logged(trainer, key):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


# Every dataset shape learns its own NDCG.


@dataclass(frozen=True)
class Job:
    """A dataset, the loss that a user writes for it, and what it ought to rank."""

    columns: dict[str, list[Any]]
    relevance: Relevance | None
    expected: list[list[float]]
    trainer_class: type = SentenceTransformerTrainer
    documents: list[str] | None = None
    symmetric: bool = False


LEVELS = [[topic // 2, topic] for topic in TOPICS]
FLAGS = [[int(topic == c or (topic + 1) % CLASSES == c) for c in range(CLASSES)] for topic in TOPICS]
NUMBERS = [topic + 0.1 * (row % 3) for row, topic in enumerate(TOPICS)]
SCORES = [1.0 if row % 2 else 0.25 for row in range(ROWS)]
LENGTHS = [1 + row % 4 for row in range(ROWS)]
LISTS = [[DOCUMENTS[(row + 5 * i) % ROWS] for i in range(length)] for row, length in enumerate(LENGTHS)]
GRADES = [[float(3 - i) for i in range(length)] for length in LENGTHS]
FLAT = [document for row in LISTS for document in row]
OWNERS = [(row, i) for row, length in enumerate(LENGTHS) for i in range(length)]
QRELS = {f"q{q}": {f"d{d}": 2 if d == q else 1 for d in range(ROWS) if TOPICS[d] == TOPICS[q]} for q in range(ROWS)}
PAIRED = [[float(q == d) for d in range(ROWS)] for q in range(ROWS)]
BY_CLASS = each_with_each(TOPICS, TOPICS, same_class)
BY_LEVEL = each_with_each(LEVELS, LEVELS, shared_levels)
BY_FLAGS = each_with_each(FLAGS, FLAGS, lambda a, b: agreement(a, b, "jaccard"))
WIDTHS = quarter_deviations([[x] for x in NUMBERS])
BY_NUMBER = each_with_each(NUMBERS, NUMBERS, lambda a, b: nearness([a], [b], "gaussian", WIDTHS))

JOBS = {
    "pairs": Job({"query": QUERIES, "document": DOCUMENTS}, None, PAIRED),
    "pairs_with_negatives": Job(
        {"query": QUERIES, "document": DOCUMENTS, "negative": DOCUMENTS[1:] + DOCUMENTS[:1]}, None, PAIRED
    ),
    "scored_pairs": Job({"sentence1": QUERIES, "sentence2": DOCUMENTS, "score": SCORES}, Pairs(), PAIRED),
    "classes": Job({"text": QUERIES, "label": TOPICS}, Classes(), without_self(BY_CLASS)),
    "levels": Job({"text": QUERIES, "label": LEVELS}, Hierarchy(), without_self(BY_LEVEL)),
    "label_sets": Job({"text": QUERIES, "label": FLAGS}, MultiLabel("jaccard"), without_self(BY_FLAGS)),
    "numbers": Job({"text": QUERIES, "label": NUMBERS}, Numeric(), without_self(BY_NUMBER)),
    "columns_of_documents": Job(
        {
            "query": QUERIES,
            "document_a": DOCUMENTS,
            "document_b": DOCUMENTS[6:] + DOCUMENTS[:6],
            "labels": [[2.0, 1.0]] * ROWS,
        },
        None,
        [[2.0 if d == q else float(d == (q + 6) % ROWS) for d in range(ROWS)] for q in range(ROWS)],
    ),
    "lists": Job(
        {"query": QUERIES, "documents": LISTS, "labels": GRADES},
        Lists(),
        [[float(3 - i) if owner == q else 0.0 for owner, i in OWNERS] for q in range(ROWS)],
        RankingTrainer,
        FLAT,
    ),
    "images_and_captions": Job(
        {"image": QUERIES, "caption": DOCUMENTS, "label": TOPICS}, Classes(), BY_CLASS, symmetric=True
    ),
    "string_classes": Job(
        {"text": QUERIES, "label": [f"topic {t}" for t in TOPICS]}, None, without_self(BY_CLASS), RankingTrainer
    ),
    "string_sets": Job(
        {"text": QUERIES, "label": [[f"topic {c}" for c, flag in enumerate(row) if flag] for row in FLAGS]},
        None,
        without_self(BY_FLAGS),
        RankingTrainer,
    ),
    "judgements": Job(
        {
            "query": QUERIES,
            "query_id": list(QRELS),
            "document": DOCUMENTS,
            "document_id": [f"d{d}" for d in range(ROWS)],
        },
        Qrels(QRELS),
        [[float(QRELS[f"q{q}"].get(f"d{d}", 0)) for d in range(ROWS)] for q in range(ROWS)],
        RankingTrainer,
        DOCUMENTS,
    ),
    "judged_lists": Job(
        {
            "query": QUERIES,
            "query_id": list(QRELS),
            "documents": LISTS,
            "document_ids": [[f"d{DOCUMENTS.index(text)}" for text in row] for row in LISTS],
        },
        Qrels(QRELS),
        [[float(QRELS[f"q{q}"].get(f"d{DOCUMENTS.index(text)}", 0)) for text in FLAT] for q in range(ROWS)],
        RankingTrainer,
        FLAT,
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_training_raises_the_ndcg_of_its_own_labels(name, tmp_path):
    job = JOBS[name]
    model = word_model(WORDS)
    queries = next(iter(job.columns.values()))
    documents = job.documents or list(job.columns.values())[1]
    if not isinstance(documents[0], str) or name.startswith("string"):
        documents = queries
    loss = ANDCGLoss(model, relevance=job.relevance, symmetric=job.symmetric)
    before = mean_ndcg(model, queries, documents, job.expected)
    trainer = trained(model, Dataset.from_dict(job.columns), loss, tmp_path, job.trainer_class)
    after = mean_ndcg(model, queries, documents, job.expected)
    assert after > before + 0.1
    assert logged(trainer, "loss")[-1] < logged(trainer, "loss")[0]


def test_paths_of_strings_train_through_the_collator(tmp_path):
    model = word_model(WORDS)
    paths = [[f"area {t // 2}", f"topic {t % 2}"] for t in TOPICS]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path),
        train_dataset=Dataset.from_dict({"text": QUERIES, "label": paths}),
        loss=ANDCGLoss(model, relevance=Hierarchy()),
        data_collator=RankingCollator(model.preprocess, label_kind="path"),
    )
    before = mean_ndcg(model, QUERIES, QUERIES, without_self(BY_LEVEL))
    trainer.train()
    assert mean_ndcg(model, QUERIES, QUERIES, without_self(BY_LEVEL)) > before + 0.1


def test_a_transformer_trains_too(tmp_path):
    model = tiny_bert(tmp_path / "bert", WORDS)
    before = mean_ndcg(model, QUERIES, QUERIES, without_self(BY_CLASS))
    dataset = Dataset.from_dict({"text": QUERIES, "label": TOPICS})
    trained(model, dataset, ANDCGLoss(model), tmp_path, learning_rate=3e-3, max_steps=25)
    assert mean_ndcg(model, QUERIES, QUERIES, without_self(BY_CLASS)) > before + 0.1


# What the trainer logs and saves.


def test_the_parts_of_a_mixture_are_logged_and_add_up_to_the_loss(tmp_path):
    model = word_model(WORDS)
    loss = RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy())
    data = Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS})
    trainer = trained(model, data, loss, tmp_path, eval_dataset=data, max_steps=4, eval_strategy="steps", eval_steps=2)
    ndcg, cross_entropy, total = (logged(trainer, key) for key in ("ApproxNDCG", "SoftmaxCrossEntropy", "loss"))
    assert len(ndcg) == len(cross_entropy) == len(total) == 4
    assert all(0 < part < 1 for part in ndcg)
    assert total == pytest.approx([a + b for a, b in zip(ndcg, cross_entropy, strict=True)], abs=2e-3)
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluated) == 2
    for entry in evaluated:
        parts = entry["eval_ApproxNDCG"] + entry["eval_SoftmaxCrossEntropy"]
        assert entry["eval_loss"] == pytest.approx(parts, abs=2e-3)


def test_matryoshka_around_a_mixture_of_ragged_lists_trains_and_logs_its_parts(tmp_path):
    model = word_model(WORDS)
    job = JOBS["lists"]
    loss = MatryoshkaLoss(model, RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()), [16, 4])

    def short_ndcg():
        embeddings = [model.encode(x, convert_to_tensor=True)[:, :4] for x in (QUERIES, FLAT)]
        similarity = torch.nn.functional.normalize(embeddings[0]) @ torch.nn.functional.normalize(embeddings[1]).T
        return sum(map(oracle.ndcg, similarity.tolist(), job.expected)) / ROWS

    before = short_ndcg()
    trainer = trained(model, Dataset.from_dict(job.columns), loss, tmp_path, RankingTrainer)
    assert short_ndcg() > before + 0.05
    assert len(logged(trainer, "ApproxNDCG")) == len(logged(trainer, "SoftmaxCrossEntropy")) == 12


def test_the_model_card_tells_loss_settings_and_citations(tmp_path):
    model = word_model(WORDS)
    loss = RankingLoss(
        model, objective=ApproxNDCG(temperature=0.07) + 0.2 * SoftmaxCrossEntropy(), relevance=Classes(), block_size=9
    )
    trained(model, Dataset.from_dict({"text": QUERIES, "label": TOPICS}), loss, tmp_path, max_steps=2)
    model.save_pretrained(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "loss:RankingLoss" in card
    assert "Classes()" in card
    assert "ApproxNDCG(temperature=0.07" in card
    assert "gu2021representation" in card
    assert "qin2010general" in card
    settings = json.loads(card.split("with these parameters:\n  ```json\n")[1].split("```")[0])
    assert settings["relevance"] == "Classes()"
    reloaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(reloaded.encode(QUERIES, convert_to_tensor=True), model.encode(QUERIES, convert_to_tensor=True))


def test_the_evaluation_loss_is_the_loss_of_the_evaluation_set(tmp_path):
    model = word_model(WORDS)
    columns = {name: values[:24] for name, values in JOBS["lists"].columns.items()}
    loss = ANDCGLoss(model)
    trainer = trained(
        model,
        Dataset.from_dict(columns),
        loss,
        tmp_path,
        RankingTrainer,
        eval_dataset=Dataset.from_dict(columns),
        max_steps=2,
    )
    value = trainer.evaluate()["eval_loss"]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    features, labels = trainer.collect_features(RankingCollator(model.preprocess)(rows))
    with torch.no_grad():
        assert value == pytest.approx(loss(features, labels).item(), rel=1e-5)


def test_batches_without_relevance_warn_once_in_a_training(tmp_path):
    model = word_model(WORDS)
    dataset = Dataset.from_dict({"text": QUERIES, "label": list(range(ROWS))})
    weights = model.encode(QUERIES, convert_to_tensor=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        trainer = trained(model, dataset, ANDCGLoss(model), tmp_path, max_steps=4)
    assert sum("No query of this batch" in str(warning.message) for warning in caught) == 1
    assert logged(trainer, "loss") == [0.0] * 4
    assert torch.equal(model.encode(QUERIES, convert_to_tensor=True), weights)


# What the trainer does to a loss.


class Recording(ANDCGLoss):
    """Keeps the batches it is given."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.batches = []

    def forward(self, sentence_features, labels=None):
        features = list(sentence_features)
        self.batches.append(([dict(column) for column in features], labels))
        return super().forward(features, labels)


def test_gradient_accumulation_averages_the_batches(tmp_path):
    model = word_model(WORDS)
    (weight,) = model.parameters()
    initial = weight.detach().clone()
    loss = Recording(model)
    dataset = Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS})
    options = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3, "max_steps": 1, "max_grad_norm": 0}
    trained(model, dataset, loss, tmp_path, optim="sgd", learning_rate=1.0, **options)
    step = initial - weight.detach()

    assert len(loss.batches) == 3
    with torch.no_grad():
        weight.copy_(initial)
    fresh = ANDCGLoss(model)
    total = sum(fresh(features, labels) for features, labels in loss.batches) / 3
    (expected,) = torch.autograd.grad(total, weight)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(step, expected, rtol=1e-4, atol=1e-6)


def test_worker_processes_change_nothing(tmp_path):
    results = []
    for workers in (0, 2):
        model = word_model(WORDS)
        dataset = Dataset.from_dict(JOBS["lists"].columns)
        trained(model, dataset, ANDCGLoss(model), tmp_path, RankingTrainer, max_steps=3, dataloader_num_workers=workers)
        results.append(model.encode(QUERIES, convert_to_tensor=True))
    torch.testing.assert_close(*results)
    assert not torch.equal(results[0], word_model(WORDS).encode(QUERIES, convert_to_tensor=True))


@pytest.mark.parametrize("options", [{"batch_sampler": "no_duplicates"}, {"bf16": True}], ids=str)
def test_options_of_the_trainer_work_with_ragged_lists(options, tmp_path):
    model = word_model(WORDS)
    job = JOBS["lists"]
    before = mean_ndcg(model, QUERIES, FLAT, job.expected)
    trained(model, Dataset.from_dict(job.columns), ANDCGLoss(model), tmp_path, RankingTrainer, **options)
    assert mean_ndcg(model, QUERIES, FLAT, job.expected) > before + 0.1


def test_batches_grouped_by_label_train_on_integer_classes(tmp_path):
    model = word_model(WORDS)
    dataset = Dataset.from_dict({"text": QUERIES, "label": TOPICS})
    loss = Recording(model)
    batches = watched(loss)
    trained(model, dataset, loss, tmp_path, RankingTrainer, batch_sampler="group_by_label", max_steps=2)
    assert len(loss.batches) == 2
    assert batches[-1].learnable == batches[-1].total


@pytest.mark.parametrize(
    "prompts", [{"query": "query: ", "documents": "document: "}, {"documents": "document: "}], ids=str
)
def test_prompts_reach_queries_and_lists(prompts, tmp_path):
    lengths = []
    for given in (None, prompts):
        model = word_model(WORDS)
        loss = Recording(model)
        dataset = Dataset.from_dict(JOBS["lists"].columns)
        trained(model, dataset, loss, tmp_path, RankingTrainer, max_steps=1, prompts=given)
        ((features, labels),) = loss.batches
        lengths.append([len(column["input_ids"]) for column in features])
        texts = [24, int(labels["list_sizes"].sum())]
    added = [with_prompt - without for without, with_prompt in zip(*lengths, strict=True)]
    assert added == [texts[0] if "query" in prompts else 0, texts[1]]


def test_routes_lead_queries_and_lists_to_their_own_modules(tmp_path):
    towers = {
        route: [StaticEmbedding(word_tokenizer(WORDS), embedding_weights=torch.randn(len(WORDS) + 2, 16))]
        for route in ("query", "document")
    }
    model = SentenceTransformer(modules=[Router(towers)], device="cpu")
    initial = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    assert len(initial) == 2
    loss = Recording(model)
    mapping = {"query": "query", "documents": "document"}
    dataset = Dataset.from_dict(JOBS["lists"].columns)
    trained(model, dataset, loss, tmp_path, RankingTrainer, max_steps=2, router_mapping=mapping)
    assert [column["task"] for column in loss.batches[0][0]] == ["query", "document"]
    for name, weight in model.named_parameters():
        assert not torch.equal(weight, initial[name]), f"{name} was not trained"


def test_several_datasets_train_each_with_its_own_loss(tmp_path):
    model = word_model(WORDS)
    jobs = {"lists": JOBS["lists"], "classes": JOBS["string_classes"], "pairs": JOBS["pairs"]}
    losses = {name: Recording(model) for name in jobs}
    losses["pairs"] = Recording(model, relevance=Pairs())
    datasets = {name: Dataset.from_dict(job.columns) for name, job in jobs.items()}
    before = mean_ndcg(model, QUERIES, QUERIES, without_self(BY_CLASS))
    trainer = trained(
        model,
        datasets,
        losses,
        tmp_path,
        RankingTrainer,
        eval_dataset=datasets,
        max_steps=18,
        eval_strategy="steps",
        eval_steps=9,
        prompts={"lists": {"documents": "document: "}},
    )
    assert all(len(loss.batches) > 3 for loss in losses.values())
    assert [len(features) for features, _ in losses["classes"].batches] == [1] * len(losses["classes"].batches)
    assert all(labels is None for _, labels in losses["pairs"].batches)
    assert mean_ndcg(model, QUERIES, QUERIES, without_self(BY_CLASS)) > before + 0.1
    for name in jobs:
        first, second = logged(trainer, f"eval_{name}_loss")
        assert second < first


def test_losses_of_the_host_work_beside_ours(tmp_path):
    model = word_model(WORDS)
    datasets = {
        "lists": Dataset.from_dict(JOBS["lists"].columns),
        "scores": Dataset.from_dict(JOBS["scored_pairs"].columns),
    }
    losses = {"lists": ANDCGLoss(model), "scores": CosineSimilarityLoss(model)}
    trainer = trained(model, datasets, losses, tmp_path, RankingTrainer, max_steps=4)
    assert len(logged(trainer, "loss")) == 4


def test_mined_negatives_as_labelled_lists_train_as_they_come(tmp_path):
    model = word_model(WORDS)
    pairs = Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS})
    mined = mine_hard_negatives(
        pairs, model, num_negatives=3, absolute_margin=0.0, output_format="labeled-list", verbose=False, batch_size=16
    )
    lengths = {len(row) for row in mined["labels"]}
    assert len(lengths) > 1, "the lists are not ragged: the test would show less"
    queries, flat = list(mined["query"]), [d for row in mined["document"] for d in row]
    owners = [(q, i) for q, row in enumerate(mined["document"]) for i in range(len(row))]
    expected = [[float(i == 0) if owner == q else 0.0 for owner, i in owners] for q in range(len(mined))]
    before = mean_ndcg(model, queries, flat, expected)
    trained(model, mined, ANDCGLoss(model), tmp_path, RankingTrainer)
    assert mean_ndcg(model, queries, flat, expected) > before + 0.1


def test_judgements_spare_the_documents_of_other_queries_that_are_relevant_too(tmp_path):
    """Pairs take them for negatives; Qrels knows better, so that the whole topic comes together."""
    expected = JOBS["judgements"].expected
    scores = {}
    for name, relevance in (("pairs", Pairs()), ("judgements", Qrels(QRELS))):
        model = word_model(WORDS)
        dataset = Dataset.from_dict(JOBS["judgements"].columns)
        trained(model, dataset, ANDCGLoss(model, relevance=relevance), tmp_path, RankingTrainer)
        scores[name] = mean_ndcg(model, QUERIES, DOCUMENTS, expected)
    assert scores["judgements"] > scores["pairs"] + 0.05

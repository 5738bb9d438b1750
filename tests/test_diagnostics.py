"""RankingDiagnostics: what the trainer's logs tell of a loss that stalls."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    CachedRankingLoss,
    RankingDiagnostics,
    RankingLoss,
    SoftmaxCrossEntropy,
)
from st_rankloss.diagnostics import measure
from st_rankloss.losses.parts import LossParts
from st_rankloss.objectives import Perturbed
from st_rankloss.relevance import Numeric, Pairs
from tests.losses.test_objectives import task
from tests.models import Passing, columns_of, random_columns, tiny_bert, watched, word_model
from tests.objectives.test_contracts import TABLE, name_of
from tests.test_trainer import DOCUMENTS, QUERIES, ROWS, TOPICS, WORDS, arguments

SCORES = [float(row % 3 == 0) for row in range(ROWS)]


class Counting(ANDCGLoss):
    """Keeps the share of each training batch's queries with relevance, counted from the labels."""

    def __init__(self, model):
        super().__init__(model, relevance=Pairs())
        self.shares = []

    def forward(self, sentence_features, labels=None):
        if self.model.training:
            self.shares.append((labels > 0).float().mean().item())
        return super().forward(sentence_features, labels)


def history(folder, make_loss=lambda model, loss: loss, scores=SCORES, **options):
    """What a training with diagnostics logs, and the true shares."""
    model = word_model(WORDS)
    loss = Counting(model)
    dataset = Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "score": scores})
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(folder, **{"per_device_train_batch_size": 8, "max_steps": 6} | options),
        train_dataset=dataset,
        eval_dataset=Dataset.from_dict({"query": QUERIES, "document": DOCUMENTS, "score": [1.0] * ROWS}),
        loss=make_loss(model, loss),
        callbacks=[RankingDiagnostics(loss)],
    )
    trainer.train()
    shares = [e["queries_with_relevance"] for e in trainer.state.log_history if "queries_with_relevance" in e]
    return shares, loss.shares, trainer


def means_of(values, size):
    return [sum(values[i : i + size]) / size for i in range(0, len(values), size)]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_mean_share_since_the_last_log_is_in_the_history(steps, tmp_path):
    found, shares, _ = history(tmp_path, logging_steps=steps)
    assert len(set(shares)) > 1
    assert found == pytest.approx(means_of(shares, steps))


def test_it_is_logged_beside_the_training_loss_and_nowhere_else(tmp_path):
    _, _, trainer = history(tmp_path, eval_strategy="steps", eval_steps=2)
    for entry in trainer.state.log_history:
        assert ("queries_with_relevance" in entry) == ("loss" in entry)


def test_evaluation_does_not_mix_in(tmp_path):
    found, shares, _ = history(tmp_path, logging_steps=2, eval_strategy="steps", eval_steps=1)
    assert found == pytest.approx(means_of(shares, 2))


def test_every_batch_of_an_accumulated_step_counts(tmp_path):
    found, shares, _ = history(tmp_path, gradient_accumulation_steps=3, max_steps=2, logging_steps=1)
    assert len(shares) == 6
    assert found == pytest.approx(means_of(shares, 3))


def test_it_sees_a_loss_inside_another(tmp_path):
    found, shares, _ = history(
        tmp_path, make_loss=lambda model, loss: MatryoshkaLoss(model, loss, [16, 4]), max_steps=2, logging_steps=1
    )
    assert found == pytest.approx(shares[::2])


@pytest.mark.filterwarnings("ignore:No query of this batch")
def test_a_share_of_zero_is_logged(tmp_path):
    found, _, _ = history(tmp_path, scores=[0.0] * ROWS, max_steps=2)
    assert found == [0.0, 0.0]


def test_a_hook_sees_every_batch_that_a_gradient_is_computed_for():
    loss = ANDCGLoss(Passing(), relevance=Pairs())
    batches = watched(loss)
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss(columns_of(random_columns([4, 4])), labels)
    with torch.no_grad():
        loss(columns_of(random_columns([4, 4])), labels)
    (batch,) = batches
    assert (batch.total, batch.learnable.item()) == (4, 1)
    assert not any(tensor.requires_grad for tensor in (batch.vectors, batch.learnable))


# What is found in the embeddings, and the warnings.

MEASURED = ("temperature_over_spread", "vanishing_gradient", "ndcg_of_random_order", "effective_rank")


def diagnosed(folder, make_loss=ANDCGLoss, label=None, steps=4, logging_steps=2, model=None, name="", **options):
    """Train with diagnostics on texts of known topics; return the history's entries with a loss, and the model."""
    model = word_model(WORDS) if model is None else model
    loss = make_loss(model, **options)
    label = TOPICS if label is None else label
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(folder, max_steps=steps, logging_steps=logging_steps),
        train_dataset=Dataset.from_dict({"text": QUERIES, "label": label}),
        loss=loss,
        callbacks=[RankingDiagnostics(loss, name)],
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], model


def test_every_log_has_all_the_numbers(tmp_path, caplog):
    entries, _ = diagnosed(tmp_path, steps=4, logging_steps=2)
    assert len(entries) == 2
    for entry in entries:
        assert 0.05 < entry["temperature_over_spread"] < 2
        assert 0 <= entry["vanishing_gradient"] < 0.5
        assert 0.3 < entry["ndcg_of_random_order"] < 0.9
        assert 3 < entry["effective_rank"] <= 16
    assert not caplog.records  # a healthy training


def test_cached_losses_and_mixtures_are_looked_into(tmp_path):
    bert = tiny_bert(tmp_path / "bert", WORDS)
    mixture = 0.5 * SoftmaxCrossEntropy() + ApproxNDCG()
    entries, _ = diagnosed(tmp_path, CachedRankingLoss, objective=mixture, model=bert, mini_batch_size=5, name="mine_")
    assert all(f"mine_{key}" in entries[-1] for key in MEASURED)
    with pytest.raises(TypeError, match="loss must be one of st_rankloss, such as RankingLoss, got Passing"):
        RankingDiagnostics(Passing())


def test_an_objective_without_temperature_has_none_logged(tmp_path):
    entries, _ = diagnosed(tmp_path, RankingLoss, objective=lambda s, y: -(s * (y - 0.5).nan_to_num()).sum(-1))
    assert "temperature_over_spread" not in entries[-1]
    assert entries[-1]["vanishing_gradient"] == 0


def test_training_is_not_changed_by_a_bit(tmp_path):
    _, watched = diagnosed(tmp_path, steps=6, logging_steps=1)
    model = word_model(WORDS)
    SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=6, logging_steps=1),
        train_dataset=Dataset.from_dict({"text": QUERIES, "label": TOPICS}),
        loss=ANDCGLoss(model),
    ).train()
    assert torch.equal(watched[0].embedding.weight, model[0].embedding.weight)


def collapsed():
    model = word_model(WORDS)
    with torch.no_grad():
        model[0].embedding.weight[:] = torch.ones(16) + 1e-4 * model[0].embedding.weight
    return model


SICK = {
    "queries_with_relevance": {"label": [*range(ROWS - 2), 0, 1]},
    "temperature_over_spread": {"temperature": 30.0},
    "vanishing_gradient": {"temperature": 1e-6},
    "ndcg_of_random_order": {"relevance": Numeric(bandwidth=50.0), "label": [float(i) for i in range(ROWS)]},
    "effective_rank": {"model": collapsed, "temperature": 1e-8, "lr": 0},
}


@pytest.mark.filterwarnings("ignore:No query of this batch")
@pytest.mark.parametrize("key", SICK)
def test_a_setting_that_cannot_learn_is_named_once(key, tmp_path, caplog):
    options = dict(SICK[key])
    options.pop("lr", None)
    if callable(options.get("model")):
        options["model"] = options["model"]()
    entries, _ = diagnosed(tmp_path, steps=4, logging_steps=1, **options)
    warned = [record.message for record in caplog.records if record.name == "st_rankloss.diagnostics"]
    assert sum(message.startswith(f"{key} = ") for message in warned) == 1
    assert len(entries) == 4
    if key != "effective_rank":  # where all embeddings are one, other numbers suffer, too
        assert len(warned) == 1


def test_a_model_that_has_learned_everything_is_not_warned_of(tmp_path, caplog):
    model = word_model(WORDS)
    with torch.no_grad():  # each topic's words have their own direction, noise none
        for word in WORDS:
            token = model.tokenizer.encode(word).ids
            topic = int(word[1 : word.index("w")]) if word[0] == "c" else None
            model[0].embedding.weight[token] = 0 if topic is None else torch.eye(16)[topic]
    entries, _ = diagnosed(tmp_path, steps=2, logging_steps=1, model=model, temperature=0.01)
    assert entries[0]["vanishing_gradient"] == 0
    assert not caplog.records


@pytest.mark.parametrize("case", TABLE, ids=name_of)
def test_every_objective_can_be_looked_at_and_trains_no_differently(case):
    relevance, labels, sizes = task(case)

    def run(*, looked_at):
        torch.manual_seed(0)
        embeddings = random_columns(sizes)
        loss = RankingLoss(Passing(), objective=case.objective, relevance=relevance)
        diagnostics, batches = RankingDiagnostics(loss), watched(loss)
        value = loss(columns_of(embeddings), labels)
        found = diagnostics._look_at(batches[0]) if looked_at else {}
        (value.total() if isinstance(value, LossParts) else value).backward()
        return found, (embeddings[0].grad, torch.rand(3))

    (found, after), (_, plain) = run(looked_at=True), run(looked_at=False)
    assert all(map(torch.equal, after, plain))
    assert {"vanishing_gradient", "ndcg_of_random_order", "effective_rank"} <= set(found)
    assert ("temperature_over_spread" in found) == ("temperature" in repr(case.objective))
    assert all(value.isfinite() for value in found.values())


def test_an_automatic_temperature_is_reported_as_it_is():
    similarity, relevance = torch.rand(4, 9), torch.rand(4, 9)
    softmax = SoftmaxCrossEntropy("auto")
    for objective, kind in (
        (ApproxNDCG("auto"), ApproxNDCG),
        (Perturbed(ApproxNDCG("auto")), ApproxNDCG),
        (softmax + ApproxNDCG(), SoftmaxCrossEntropy),
    ):
        assert measure(similarity, relevance, objective)["temperature_over_spread"] == kind.spreads


@pytest.mark.filterwarnings("ignore:No query of this batch")
def test_each_of_several_losses_counts_the_batches_of_its_own_dataset(tmp_path):
    model = word_model(WORDS)
    losses = {name: ANDCGLoss(model) for name in ("topics", "alone")}
    labels = {"topics": TOPICS, "alone": [100 + row for row in range(ROWS)]}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=8, logging_steps=1, multi_dataset_batch_sampler="round_robin"),
        train_dataset={name: Dataset.from_dict({"text": QUERIES, "label": labels[name]}) for name in losses},
        loss=losses,
        callbacks=[RankingDiagnostics(loss, f"{name}_") for name, loss in losses.items()],
    )
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    found = [{key: value for key, value in entry.items() if key.endswith("relevance")} for entry in entries]
    assert [list(entry) for entry in found] == [["topics_queries_with_relevance"], ["alone_queries_with_relevance"]] * 4
    assert all(entry.get("alone_queries_with_relevance", 0) == 0 for entry in found)
    assert all(entry.get("topics_queries_with_relevance", 1) > 0.5 for entry in found)


def test_nothing_is_kept_of_steps_that_are_not_logged(tmp_path):
    found, shares, trainer = history(tmp_path, logging_strategy="no", max_steps=6)
    (diagnostics,) = (x for x in trainer.callback_handler.callbacks if isinstance(x, RankingDiagnostics))
    assert (found, len(shares)) == ([], 6)
    assert diagnostics._queries == 48
    assert diagnostics._learnable.shape == ()
    assert not any(isinstance(value, list | dict) for value in vars(diagnostics).values())


def test_rows_of_one_grade_each_are_warned_of_with_the_remedy(tmp_path, caplog):
    rows = [(query, document) for query in range(10) for document in range(4)]
    columns = {
        "query": [QUERIES[query] for query, _ in rows],
        "document": [DOCUMENTS[(query + document) % ROWS] for query, document in rows],
        "score": [float(3 * (document == 0)) for _, document in rows],  # a quarter of the rows is relevant
    }
    model = word_model(WORDS)
    loss = ANDCGLoss(model)
    SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=4, logging_steps=1),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        callbacks=[RankingDiagnostics(loss)],
    ).train()
    (message,) = (record.message for record in caplog.records if "queries_with_relevance" in record.message)
    assert "repeat a query with one graded document each, group them into one row per query with lists" in message


@pytest.mark.parametrize("rate", [1e-3, 2e-3])
@pytest.mark.parametrize("static", [True, False])
def test_a_static_models_learning_rate_on_a_transformer_is_warned_of(static, rate, tmp_path, caplog):
    model = word_model(WORDS) if static else tiny_bert(tmp_path / "bert", WORDS)
    loss = ANDCGLoss(model)
    SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=1, learning_rate=rate),
        train_dataset=Dataset.from_dict({"text": QUERIES, "label": TOPICS}),
        loss=loss,
        callbacks=[RankingDiagnostics(loss)],
    ).train()
    assert any("far too high for a transformer" in record.message for record in caplog.records) == (
        not static and rate > 1e-3
    )

"""One trainer for each kind of model: what it refuses, and what losses of ours get from it."""

from __future__ import annotations

import gc

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, IterableDataset, List
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, LambdaLoss
from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, SpladeLoss
from torch import nn

import st_rankloss
from st_rankloss import (
    ANDCGLoss,
    CachedANDCGLoss,
    CrossEncoderRankingCollator,
    RankingCollator,
    ViewsCollator,
    recipes,
)
from st_rankloss.data import lists
from st_rankloss.losses.base import GradedLoss
from st_rankloss.relevance import Classes, Lists, MultiLabel, Qrels, encode_ids
from st_rankloss.trainer import TRAINERS
from tests.models import tiny_bert, tiny_cross_encoder, tiny_multi_vector, tiny_splade

WORDS = [f"w{i}" for i in range(12)]
MAKERS = dict(zip(TRAINERS, (tiny_bert, tiny_splade, tiny_multi_vector, tiny_cross_encoder), strict=True))
COLUMNS = {
    "query": ["w1", "w2 w3", "w4"],
    "documents": [["w5", "w6 w7"], ["w8"], ["w9", "w10", "w11 w1"]],
    "labels": [[2, None], [1], [0, 3, 1]],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    gc.freeze()  # trainers collect garbage, which takes longer than they do if all modules are looked at
    yield {kind: make(tmp_path_factory.mktemp(kind.__name__), WORDS) for kind, make in MAKERS.items()}
    gc.unfreeze()


def arguments(trainer, folder, **options):
    defaults = {"output_dir": str(folder), "per_device_train_batch_size": 3, "max_steps": 1, "save_strategy": "no"}
    defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True}
    return trainer.training_args_class(**defaults | options)


class Recording(GradedLoss):
    """A loss that keeps what it gets."""

    def __init__(self, model, relevance=None):
        nn.Module.__init__(self)
        self.model, self.relevance, self.gather_across_devices = model, relevance, False
        self.seen = []

    def get_config_dict(self):
        return {}

    def forward(self, inputs, labels=None, **options):
        self.seen.append((inputs, labels, options))
        return sum(parameter.sum() for parameter in self.model.parameters()) * 0.0


def recorded(trainer, models, folder, columns, relevance=None, *, stream=False, collator=None, **options):
    """What a loss gets of one batch."""
    loss = Recording(models[trainer], relevance)
    dataset = Dataset.from_dict(columns).to_iterable_dataset() if stream else Dataset.from_dict(columns)
    dataset = lists(dataset, most=2) if options.pop("sampled", False) else dataset
    args = arguments(trainer, folder, **options)
    trainer(model=models[trainer], args=args, train_dataset=dataset, loss=loss, data_collator=collator).train()
    ((inputs, labels, given),) = loss.seen
    return inputs, labels, given


@pytest.mark.parametrize("of", TRAINERS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_model_of_another_kind_is_refused_with_the_trainer_to_use(trainer, of, models):
    if trainer is of:
        return
    message = f"{trainer.__name__} needs a {trainer.model_class.__name__}, got a {of.model_class.__name__}; use "
    with pytest.raises(TypeError, match=message + of.__name__):
        trainer(model=models[of])
    with pytest.raises(TypeError, match=message + of.__name__):
        trainer(model_init=lambda: models[of])


def test_every_trainer_is_public():
    assert all(getattr(st_rankloss, trainer.__name__) is trainer for trainer in TRAINERS)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_collator_for_another_kind_is_refused(trainer, models, tmp_path):
    model, wrong = models[trainer], CrossEncoderRankingCollator
    if trainer.data_collator_class is wrong:
        wrong = RankingCollator
    with pytest.raises(TypeError, match=f"got a {wrong.__name__}: leave data_collator out"):
        trainer(
            model=model,
            args=arguments(trainer, tmp_path),
            train_dataset=Dataset.from_dict(COLUMNS),
            loss=Recording(model),
            data_collator=wrong(model.preprocess),
        )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("trainer", TRAINERS[:3])
def test_losses_for_embedding_models_get_lists_and_grades(trainer, models, tmp_path, stream):
    inputs, labels, _ = recorded(trainer, models, tmp_path, COLUMNS, stream=stream)
    assert [len(column["input_ids"]) for column in inputs] == [3, 6]
    assert sorted(labels["list_sizes"].tolist()) == [1, 2, 3]
    assert labels["kind"] == "grades"
    sizes = labels["list_sizes"].tolist()
    assert labels["label"][sizes.index(3)].tolist() == [0, 3, 1]
    assert labels["label"][sizes.index(2)].nan_to_num(9).tolist() == [2, 9, 9]


@pytest.mark.parametrize("stream", [False, True])
def test_a_loss_for_cross_encoders_gets_raw_columns_and_the_same_labels(models, tmp_path, stream):
    trainer = st_rankloss.CrossEncoderRankingTrainer
    beside = {"query_id": ["a", "b", "c"], "document_ids": [["5", "6"], ["8"], ["9", "10", "11"]]}
    beside |= {"weight": [1.0, 2.0, 0.5], "document_weights": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]}
    inputs, labels, given = recorded(trainer, models, tmp_path, COLUMNS | beside, Lists(), stream=stream, prompts="w0 ")
    queries, documents = inputs
    order = [queries.index(query) for query in COLUMNS["query"]]
    assert given == {"prompt": "w0 ", "task": None}
    assert [documents[i] for i in order] == COLUMNS["documents"]
    assert [labels["list_sizes"][i].item() for i in order] == [2, 1, 3]
    assert labels["label"][order[2]].tolist() == [0, 3, 1]
    assert [labels["row_weights"][i].item() for i in order] == [1, 2, 0.5]
    assert torch.equal(labels["query_ids"][order], encode_ids(["a", "b", "c"]))
    flat = {word: place for place, word in enumerate(word for row in documents for word in row)}
    assert labels["document_weights"][flat["w9"]] == 4
    assert labels["document_ids"][flat["w9"]] == encode_ids(["9"])[0]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_string_labels_are_read_for_the_relevance(trainer, models, tmp_path):
    pairs = {"query": COLUMNS["query"], "document": ["w1", "w2", "w3"]}
    _, labels, _ = recorded(trainer, models, tmp_path, pairs | {"label": ["a", "b", "a"]}, Classes())
    assert labels["kind"] == "class"
    assert len(set(labels["label"].tolist())) == 2
    _, labels, _ = recorded(trainer, models, tmp_path, pairs | {"label": [["a"], ["b", "a"], []]}, MultiLabel())
    assert sorted(labels["label"].sum(1).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_relevance_is_asked_before_the_first_step(trainer, models, tmp_path):
    with pytest.raises(ValueError, match="needs query_ids, which this batch lacks"):
        recorded(trainer, models, tmp_path, COLUMNS, Qrels({"a": {"5": 1}}))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_lists_are_sampled(trainer, models, tmp_path):
    _, labels, _ = recorded(trainer, models, tmp_path, COLUMNS, sampled=True)
    assert sorted(labels["list_sizes"].tolist()) == [1, 2, 2]


@pytest.mark.parametrize("trainer", TRAINERS[:3])
def test_views_work_with_all_embedding_models(trainer, models, tmp_path):
    columns = {"text": COLUMNS["query"]}
    collator = ViewsCollator(models[trainer].preprocess)
    inputs, labels, _ = recorded(trainer, models, tmp_path, columns, collator=collator)
    assert len(inputs[0]["input_ids"]) == 6
    assert labels["sample"].tolist() == [0, 1, 2, 0, 1, 2]


def test_the_columns_of_a_multi_vector_model_get_their_tasks(models, tmp_path):
    trainer = st_rankloss.MultiVectorEncoderRankingTrainer
    inputs, _, _ = recorded(trainer, models, tmp_path, COLUMNS)
    assert [column["task"] for column in inputs] == ["query", "document"]
    mapping = {"query": "document", "documents": "query"}
    inputs, _, _ = recorded(trainer, models, tmp_path, COLUMNS, router_mapping=mapping)
    assert [column["task"] for column in inputs] == ["document", "query"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_arguments_that_contradict_the_collator_are_refused(trainer, models, tmp_path):
    collator = trainer.data_collator_class(models[trainer].preprocess, prompts="w1 ")
    with pytest.raises(ValueError, match="data_collator has other prompts"):
        recorded(trainer, models, tmp_path, COLUMNS, collator=collator, prompts="w2 ")


def test_lengths_of_the_arguments_reach_a_passed_collator(models, tmp_path):
    trainer = st_rankloss.MultiVectorEncoderRankingTrainer
    collator = RankingCollator(models[trainer].preprocess)
    inputs, _, _ = recorded(trainer, models, tmp_path, COLUMNS, collator=collator, max_length={"document": 1})
    assert [column["input_ids"].shape[1] for column in inputs] == [2, 1]


def test_prompts_per_column_are_refused_for_a_passed_cross_encoder_collator(models, tmp_path):
    trainer = st_rankloss.CrossEncoderRankingTrainer
    collator = CrossEncoderRankingCollator(models[trainer].preprocess)
    with pytest.raises(ValueError, match="prompts cannot be per-column"):
        recorded(trainer, models, tmp_path, COLUMNS, collator=collator, prompts={"a": {"query": "w1 "}})


@pytest.mark.parametrize("name", ["prompts", "router_mapping"])
def test_what_a_cross_encoder_would_ignore_of_a_single_dataset_is_refused(name, models, tmp_path):
    trainer = st_rankloss.CrossEncoderRankingTrainer
    with pytest.raises(
        ValueError, match=rf"^{name} of a cross-encoder must have names of datasets, .* \['documents'\]"
    ):
        recorded(trainer, models, tmp_path, COLUMNS, **{name: {"documents": "w2 "}})


def test_a_prompt_of_a_dataset_called_as_a_column_reaches_a_cross_encoder():
    collator = CrossEncoderRankingCollator(None, prompts={"query": "w1 "})
    assert collator([{"query": "w2", "document": "w3", "dataset_name": "query"}])["prompt"] == "w1 "


@pytest.mark.parametrize("make", [SpladeLoss, CachedSpladeLoss])
def test_a_single_column_is_refused_where_documents_are_regularized(make, models, tmp_path):
    trainer = st_rankloss.SparseEncoderRankingTrainer
    model, args = models[trainer], arguments(trainer, tmp_path)
    columns = {"text": ["w1", "w2", "w3"], "text_id": ["a", "b", "c"], "label": [0, 1, 0], "weight": [1.0, 2.0, 1.0]}
    inner = {SpladeLoss: ANDCGLoss, CachedSpladeLoss: CachedANDCGLoss}[make](model, relevance=Classes())

    def trained(**options):
        loss = make(model, inner, document_regularizer_weight=0.1, **options)
        return trainer(model=model, args=args, train_dataset=Dataset.from_dict(columns), loss=loss)

    with pytest.raises(ValueError, match=f"^{make.__name__} .* is 'text': pass use_document_regularizer_only=True"):
        trained(query_regularizer_weight=0.1)
    history = trained(use_document_regularizer_only=True)
    history.train()
    assert history.state.global_step == 1


@pytest.mark.parametrize("name", ["prompt", "task"])
def test_columns_that_the_cross_encoder_trainer_would_drop_are_refused(name):
    with pytest.raises(ValueError, match=f"must not be called 'prompt' or 'task', .* got '{name}'"):
        CrossEncoderRankingCollator(None)([{name: "w1", "document": "w2", "label": 1.0}])


@pytest.mark.parametrize(("setting", "key"), [("prompts", "prompt"), ("router_mapping", "task")])
def test_prompts_and_tasks_of_columns_are_refused_where_pairs_have_one(setting, key):
    collator = CrossEncoderRankingCollator(None, **{setting: {"query": "a"}})
    row = {"query": "w1", "document": "w2"}
    with pytest.raises(ValueError, match=rf"^{setting} of a cross-encoder must have names of datasets, .* \['query'\]"):
        collator([row])
    assert collator([row | {"dataset_name": "query"}])[key] == "a"


def test_pairs_with_a_number_reach_a_cross_encoder_loss_as_from_the_host():
    rows = [{"query": "w1", "document": "w2", "score": 0.5}, {"query": "w3", "document": "w4", "score": 1.0}]
    batch = CrossEncoderRankingCollator(None)(rows)
    assert batch["query"] == ["w1", "w3"]
    assert batch["label"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("labels", [[1.0, None], [[1.0, 0.0], [None, 1.0]]])
def test_a_missing_label_is_refused_for_a_loss_of_the_host(models, tmp_path, labels):
    trainer = st_rankloss.CrossEncoderRankingTrainer
    documents = [["w1", "w2"], ["w3", "w4"]] if isinstance(labels[0], list) else ["w1", "w2"]
    dataset = Dataset.from_dict({"query": ["w5", "w6"], "documents": documents, "label": labels})
    make = LambdaLoss if isinstance(labels[0], list) else BinaryCrossEntropyLoss
    args = arguments(trainer, tmp_path)
    made = trainer(model=models[trainer], args=args, train_dataset=dataset, loss=make(models[trainer]))
    with pytest.raises(ValueError, match="'label' must hold numbers for a loss of sentence-transformers, got .*None"):
        made.train()


SETS = Dataset.from_dict({"text": [f"w{i}" for i in range(8)], "label": [[0, 1], [0, 0], [1, 1], [0, 1]] * 2})
SETS_OF_IDS = SETS.cast_column("label", List(ClassLabel(names=["x", "y"])))


class Seeing(Recording):
    """A loss that tells each evaluation apart by the labels that it gets."""

    def forward(self, inputs, labels=None, **options):
        super().forward(inputs, labels, **options)
        return labels["label"].nan_to_num().mul(torch.arange(1, labels["label"].shape[1] + 1)).sum()


def evaluating(trainer, models, folder, relevance, *, named=False, **data):
    loss = Seeing(models[trainer], relevance)
    args = arguments(trainer, folder)
    return trainer(model=models[trainer], args=args, loss={"a": loss} if named else loss, **data)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_dataset_that_is_evaluated_later_is_read_as_if_it_had_been_passed(trainer, models, tmp_path):
    expected = evaluating(trainer, models, tmp_path, MultiLabel(), eval_dataset=SETS_OF_IDS).evaluate()["eval_loss"]
    later = evaluating(trainer, models, tmp_path, MultiLabel())
    assert later.evaluate(SETS)["eval_loss"] != expected
    assert later.evaluate(SETS_OF_IDS)["eval_loss"] == expected
    assert later.predict(SETS_OF_IDS).metrics["test_loss"] == expected
    named = evaluating(trainer, models, tmp_path, MultiLabel(), named=True)
    assert named.evaluate(DatasetDict(a=SETS_OF_IDS))["eval_a_loss"] == expected


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_dataset_that_declares_its_labels_differently_is_refused_when_it_is_evaluated(trainer, models, tmp_path):
    later = evaluating(trainer, models, tmp_path, MultiLabel(), train_dataset=SETS)
    for evaluate in (later.evaluate, later.predict):
        with pytest.raises(ValueError, match="must declare their labels alike"):
            evaluate(SETS_OF_IDS)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_stream_of_lists_that_is_evaluated_later_arrives_whole(trainer, models, tmp_path, declared):
    rows = Dataset.from_dict(COLUMNS)
    stream = rows.to_iterable_dataset() if declared else IterableDataset.from_generator(lambda: iter(rows))
    later = evaluating(trainer, models, tmp_path, Lists())
    expected = later.evaluate(rows)["eval_loss"]
    assert later.evaluate(stream)["eval_loss"] == expected
    assert later.predict(stream).metrics["test_loss"] == expected


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_is_not_a_loss_is_refused_with_the_remedy(trainer, models, tmp_path):
    made = "CrossEncoderRankingLoss" if trainer is st_rankloss.CrossEncoderRankingTrainer else "RankingLoss"
    for wrong, message in (
        (st_rankloss.ApproxNDCG(), rf"got the objective ApproxNDCG\(.*: pass {made}\(model, objective="),
        (st_rankloss.ApproxNDCG, rf"got the objective ApproxNDCG: pass {made}\(model, objective="),
        (recipes.retrieval(), r"a recipe is neither a loss .*: pass recipe.loss\(model\)"),
    ):
        for loss in (wrong, {"a": wrong}):
            with pytest.raises(TypeError, match=message):
                trainer(model=models[trainer], args=arguments(trainer, tmp_path), loss=loss)

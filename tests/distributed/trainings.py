"""Trainings that one process and two processes ought to end with the same parameters, and how each is run.

Every training is a function of a folder that returns what `test_trainings.py` compares. It runs in the test's own
process, with the whole batch, and in each of the processes that `worker.py` starts, with its share of the batch.
"""

from __future__ import annotations

import copy
import functools
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset, IterableDataset
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch.utils.data import SequentialSampler

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    CachedCrossEncoderRankingLoss,
    CrossEncoderRankingLoss,
    RankingCollator,
    RankingLoss,
    RankingTrainer,
    SoftmaxCrossEntropy,
    ViewsCollator,
    data,
    samplers,
)
from st_rankloss.evaluation import GradedInformationRetrievalEvaluator
from st_rankloss.losses import CachedANDCGLoss
from st_rankloss.objectives import AcrossQueries, RankNet, SoftSpearman
from st_rankloss.relevance import Classes, Hierarchy, Lists, MultiLabel, Numeric, Pairs, Qrels, Vectors, Views
from st_rankloss.weighting import NeighbourAgreement, SelfPaced
from tests.models import tiny_bert, tiny_colbert, tiny_splade

BATCH, STEPS = 8, 5
ROWS = BATCH * STEPS
WORDS = [f"w{i}" for i in range(40)]
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))

Columns = dict[str, list[Any]]


def cases() -> dict[str, tuple[Columns, Any, dict[str, Any]]]:
    """Columns of a dataset, what its labels mean and settings of the loss, by name."""
    draw = random.Random(4)
    text = [" ".join(draw.choices(WORDS, k=4)) for _ in range(ROWS)]
    other = [" ".join(draw.choices(WORDS, k=4)) for _ in range(ROWS)]
    lengths = [1 + draw.randrange(4) for _ in range(ROWS)]
    lists = [[" ".join(draw.choices(WORDS, k=3)) for _ in range(n)] for n in lengths]
    pairs = {"text": text, "other": other}
    ids = {"text_id": [f"q{i}" for i in range(ROWS)], "other_id": [f"d{i % 30}" for i in range(ROWS)]}
    judged = {f"q{i}": {f"d{i % 30}": 3, f"d{(i + 1) % 30}": 1} for i in range(ROWS)}
    return {
        "pairs": (pairs, None, {}),
        "apart": (pairs, None, {"gather_across_devices": False}),
        "scores": (pairs | {"score": [draw.random() for _ in range(ROWS)]}, Pairs(), {}),
        "symmetric": (pairs | {"label": [i % 3 for i in range(ROWS)]}, Classes(), {"symmetric": True}),
        "classes": ({"text": text, "label": [i % 3 for i in range(ROWS)]}, None, {}),
        "names": ({"text": text, "label": [f"c{i % 3}" for i in range(ROWS)]}, None, {}),
        "levels": ({"text": text, "label": [[i % 2, i % 4] for i in range(ROWS)]}, Hierarchy(), {}),
        "sets": ({"text": text, "label": [draw.sample("abcdefg", draw.randrange(3)) for _ in text]}, MultiLabel(), {}),
        "numbers": ({"text": text, "label": [draw.random() for _ in range(ROWS)]}, Numeric(), {}),
        "vectors": ({"text": text, "label": [[draw.random() for _ in range(3)] for _ in text]}, Vectors(), {}),
        "lists": ({"text": text, "documents": lists, "labels": [list(range(n)) for n in lengths]}, Lists(), {}),
        "judgements": (pairs | ids, Qrels(judged), {}),
    }


@dataclass(frozen=True)
class Training:
    """A few steps with `RankingTrainer`."""

    columns: Columns
    relevance: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of the loss."""
    loss: Callable[..., RankingLoss] = ANDCGLoss
    collator: Callable[[Any], RankingCollator] | None = None
    """Makes it of the model's preprocessing."""
    arguments: dict[str, Any] = field(default_factory=dict)
    streaming: bool = False
    shaped: Callable[[Dataset], Any] = staticmethod(lambda dataset: dataset)
    """Makes the training data of the rows."""
    several: Mapping[str, Training] = field(default_factory=dict)
    """Instead: datasets by name."""
    kind: str = "dense"
    """Of the model; see `KINDS`."""


KINDS: dict[str, tuple[Any, Any]] = {
    "dense": (RankingTrainer, SentenceTransformerTrainingArguments),
    "sparse": (SparseEncoderTrainer, SparseEncoderTrainingArguments),
    "tokens": (MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments),
}
"""The trainer and the arguments of each kind of model."""


def distance(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """A relevance that users write themselves."""
    return 1 / (1 + (queries[:, None] - documents).abs())


def mixture(model: Any, relevance: Any, **options: Any) -> RankingLoss:
    return RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy(), relevance=relevance, **options)


def whole_batch(model: Any, relevance: Any, **options: Any) -> RankingLoss:
    """Two terms of which one reads the whole batch at once."""
    return RankingLoss(model, objective=AcrossQueries(SoftSpearman()) + ApproxNDCG(), relevance=relevance, **options)


def cached(model: Any, relevance: Any, **options: Any) -> RankingLoss:
    return CachedANDCGLoss(model, relevance=relevance, mini_batch_size=3, **options)


def first_words(text: str) -> str:
    return " ".join(text.split()[:2])


def backwards(text: str) -> str:
    return " ".join(reversed(text.split()))


def views(preprocess: Any) -> RankingCollator:
    return ViewsCollator(preprocess, views=[str, backwards, first_words], keep=[1.0, 0.8, 0.3])


def of_every_relevance() -> dict[str, Training]:
    """A training for every relevance, named and chosen, and for what else decides how a batch is gathered."""
    found = {name: Training(*case) for name, case in cases().items()}
    text = {"text": found["classes"].columns["text"]}
    lists = found["lists"].columns
    judged = found["judgements"]
    count = range(ROWS)
    documents = [[judged.columns["other_id"][i], f"x{i}"] for i in count]
    more = {
        "pairs_named": Training(found["pairs"].columns, Pairs()),
        "negatives": Training(found["pairs"].columns | {"negative": text["text"][::-1]}),
        "scores_chosen": Training(found["scores"].columns),
        "classes_named": Training(found["classes"].columns, Classes()),
        "sets_chosen": Training(found["sets"].columns),
        "numbers_chosen": Training(found["numbers"].columns),
        "lists_chosen": Training(lists),
        "lists_without_grades": Training({name: lists[name] for name in ("text", "documents")}, Lists()),
        "columns_of_documents": Training(
            found["pairs"].columns | {"worse": text["text"][::-1], "labels": [[2.0, i % 2] for i in count]}, Lists()
        ),
        "hot": Training(text | {"label": [[int(i % n == 0) for n in (2, 3, 5)] for i in count]}, MultiLabel()),
        "paths": Training(
            text | {"label": [["a", "b"][: 1 + i % 2] if i % 3 else ["c"] for i in count]},
            Hierarchy(),
            collator=functools.partial(RankingCollator, label_kind="path"),
        ),
        "judged_lists": Training(
            {
                "text": text["text"],
                "text_id": judged.columns["text_id"],
                "documents": [[x, y] for x, y in zip(judged.columns["other"], text["text"][::-1], strict=True)],
                "document_ids": documents,
            },
            judged.relevance,
        ),
        "views": Training(text, Views(), collator=views),
        "labelled_views": Training(found["classes"].columns, Views(Classes()), collator=views),
        "function": Training(found["numbers"].columns, distance),
        "mixture": Training(lists, loss=mixture),
        "whole_batch": Training(found["scores"].columns, loss=whole_batch),
    }
    return found | more


def save_base_model(folder: Path) -> None:
    """Save what all trainings of a folder start from."""
    torch.manual_seed(0)
    tiny_bert(folder / "bert", WORDS, dropout=0.0)
    tiny_splade(folder / "splade", WORDS, dropout=0.0)
    tiny_colbert(folder / "backbone", WORDS, dropout=0.0).save_pretrained(str(folder / "colbert"))


@functools.cache
def base_model(folder: Path, kind: str = "dense") -> Any:
    if kind == "sparse":
        return SparseEncoder(str(folder / "splade"), device="cpu")
    if kind == "tokens":
        return MultiVectorEncoder(str(folder / "colbert"), device="cpu")
    return SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(32)], device="cpu")


def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> DefaultBatchSampler:
    """A batch sampler that takes rows as they come."""
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


ARGUMENTS = {
    "per_device_train_batch_size": BATCH // PROCESSES,
    "per_device_eval_batch_size": BATCH // PROCESSES,
    "num_train_epochs": 1,
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "optim": "sgd",  # Adam would turn the rounding of gradients that are zero into steps
    "dataloader_drop_last": True,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "seed": 7,
}


def trainer_of(training: Training, folder: Path, **more: Any) -> RankingTrainer:
    """Make the trainer of a process: its batches are its share of `BATCH`."""
    evaluation = {name: more.pop(name) for name in ("eval_dataset", "evaluator") if name in more}
    changed = {name: more.pop(name) for name in ("dataloader_drop_last",) if name in more}
    make_trainer, make_arguments = KINDS[training.kind]
    model = copy.deepcopy(base_model(folder, training.kind))
    model._create_model_card = lambda *_, **__: None  # which takes most of the time of a checkpoint
    args = make_arguments(str(folder / "run"), **ARGUMENTS | training.arguments | more)
    for name, value in changed.items():  # what the arguments overrule in several processes
        setattr(args, name, value)
    if args.fsdp:
        pretend_to_have_accelerators()

    def loss_of(training: Training) -> RankingLoss:
        return training.loss(model, relevance=training.relevance, **{"gather_across_devices": True} | training.options)

    dataset = training.shaped(Dataset.from_dict(training.columns))
    several = training.several
    collator = training.collator or (RankingCollator if training.kind != "dense" else None)
    trainer = make_trainer(
        model=model,
        args=args,
        train_dataset={name: Dataset.from_dict(part.columns) for name, part in several.items()}
        or (dataset.to_iterable_dataset() if training.streaming else dataset),
        loss={name: loss_of(part) for name, part in several.items()} or loss_of(training),
        data_collator=collator and collator(model.preprocess),
        **evaluation,
    )
    assert trainer.is_fsdp_enabled == bool(args.fsdp)
    return trainer


def pretend_to_have_accelerators() -> None:
    """Let accelerate shard a model on CPUs: torch can, but accelerate reads FSDP's settings beside accelerators only.

    `AcceleratorState` leaves ``DistributedType.MULTI_CPU`` out of the kinds that become ``DistributedType.FSDP``, so
    that ``fsdp=True`` trains by DDP there, without a word.
    """
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU


def parameters_of(model: torch.nn.Module) -> torch.Tensor:
    """All parameters end to end, also those that lie in pieces on several processes."""
    return torch.cat([whole(parameter).detach().flatten() for parameter in model.parameters()])


def whole(parameter: torch.Tensor) -> torch.Tensor:
    full: torch.Tensor = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return full


def train(training: Training, folder: Path, steps: int | None = STEPS, **more: Any) -> torch.Tensor:
    """Train and return the parameters."""
    trainer = trainer_of(training, folder, **more)
    trainer.train()
    assert steps is None or trainer.state.global_step == steps, trainer.state.global_step
    return parameters_of(trainer.model)


def train_cross_encoder(training: Training, make: Callable[..., Any], folder: Path) -> torch.Tensor:
    """Train a cross-encoder on the rows of a training and return the parameters."""
    torch.manual_seed(0)
    model = CrossEncoder(str(folder / "bert"), num_labels=1, device="cpu")
    # A new head's scores hardly differ: the temperature makes gradients that move parameters.
    objective, gather = RankNet(temperature=0.02), training.options.get("gather_across_devices", True)
    loss = make(
        model, objective=objective, relevance=training.relevance, num_negatives=None, gather_across_devices=gather
    )
    args = CrossEncoderTrainingArguments(str(folder / "run"), **ARGUMENTS)
    dataset = Dataset.from_dict(training.columns)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=dataset, loss=loss)
    trainer.train()
    assert trainer.state.global_step == STEPS, trainer.state.global_step
    return parameters_of(model)


def with_gaps() -> dict[str, Training]:
    """Trainings whose every other four rows have no label: each step, all rows of one of two processes.

    The relevance is named: a batch without any label does not show which one the loss would choose.
    """
    trainings = of_every_relevance()
    trainings["names"] = replace(trainings["names"], relevance=Classes())
    found = {}
    for name in ("classes_named", "names", "levels", "paths", "sets", "numbers", "lists"):
        training = trainings[name]
        label = "labels" if "labels" in training.columns else "label"
        labels = [
            ([None] * len(value) if name == "lists" else None) if row // 4 % 2 else value
            for row, value in enumerate(training.columns[label])
        ]
        columns = training.columns | {label: labels}
        found[name] = replace(training, columns=columns, arguments={"batch_sampler": in_order})
    return found


# What else happens in a training.


def longer(training: Training, rows: int) -> Training:
    """The same training with more rows: the first ones once more, in other company."""
    return replace(training, columns={n: (c + c)[:rows] for n, c in training.columns.items()})


def resumed(training: Training, folder: Path, epoch: int, **more: Any) -> dict[str, torch.Tensor]:
    """Train for two epochs, then once more from a checkpoint in the middle of one of them."""
    options = {"num_train_epochs": 2, "save_strategy": "steps", **more}
    trainer = trainer_of(training, folder, **options)
    each = len(trainer.get_train_dataloader())
    at = options["save_steps"] = trainer.args.save_steps = epoch * each + each // 2
    trainer.train()
    assert trainer.state.global_step == 2 * each > at > epoch * each
    again = trainer_of(training, folder, **options)
    again.train(resume_from_checkpoint=str(folder / "run" / f"checkpoint-{at}"))
    assert again.state.global_step == 2 * each
    trainer.accelerator.wait_for_everyone()
    found = {"straight": parameters_of(trainer.model), "resumed": parameters_of(again.model)}
    if trainer.is_world_process_zero():
        shutil.rmtree(folder / "run")
    trainer.accelerator.wait_for_everyone()
    return found


def evaluated(training: Training, folder: Path, **more: Any) -> dict[str, Any]:
    """Train with a set and an evaluator; return what they found, and the parameters."""
    texts = training.columns["text"]
    corpus = {f"d{i:02}": text for i, text in enumerate(texts)}
    queries = {f"q{i}": texts[i] for i in range(7)}  # an odd number, so that processes encode unequal shares
    judgements = {query: {f"d{(7 * i + j) % ROWS:02}": j for j in range(4)} for i, query in enumerate(queries)}
    trainer = trainer_of(
        training,
        folder,
        eval_dataset=Dataset.from_dict({name: column[: 3 * BATCH] for name, column in training.columns.items()}),
        evaluator=GradedInformationRetrievalEvaluator(queries, corpus, judgements, name="graded", write_csv=False),
        eval_strategy="steps",
        eval_steps=2,
        **more,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    kept = [{k: v for k, v in entry.items() if k == "eval_loss" or "graded" in k} for entry in logged]
    return {"parameters": parameters_of(trainer.model), "evaluations": kept}


def several_datasets(folder: Path, **more: Any) -> torch.Tensor:
    """Train on datasets of the same form, each with a loss of its own."""
    lists = of_every_relevance()["lists"]
    names = {"one": lists, "other": replace(lists, columns={n: c[::-1] for n, c in lists.columns.items()})}
    return train(replace(lists, several=names, arguments={"max_steps": 4} | SPLIT | more), folder, steps=4)


def unlike_losses(folder: Path) -> dict[str, Any]:
    """Train on datasets of which each process draws other ones, with losses that log and learn other things."""
    found, weighting = of_every_relevance(), NeighbourAgreement(k=5, least=0.9)
    apart = {"gather_across_devices": False}
    classes = replace(found["classes_named"], loss=mixture, options=apart | {"weighting": weighting})
    several = {"classes": classes, "lists": replace(found["lists"], options=apart)}
    arguments = {"num_train_epochs": 2, "logging_steps": 1, "multi_dataset_batch_sampler": "round_robin"}
    trainer = trainer_of(replace(classes, several=several, arguments=arguments), folder)
    trainer.train()
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {"logged": [sorted(entry) for entry in losses], "weights": weighting.weights}


def refusals(folder: Path) -> dict[str, str]:
    """Return what several processes are told where they would mix datasets, or wait for each other."""
    lists = of_every_relevance()["lists"]
    unequal = functools.partial(train, longer(lists, ROWS + 3))
    wrong = {
        "datasets": functools.partial(several_datasets, accelerator_config=None),
        "batches": functools.partial(unequal, dataloader_drop_last=False),
        "split": functools.partial(unequal, dataloader_drop_last=False, **SPLIT),
        "planned": functools.partial(
            train,
            replace(
                of_every_relevance()["classes_named"],
                options={"gather_across_devices": False},
                arguments={"batch_sampler": samplers.classes(2)} | SPLIT,
            ),
        ),
    }
    return {name: message_of(run, folder) for name, run in wrong.items()}


def message_of(run: Callable[[Path], Any], folder: Path) -> str:
    try:
        run(folder)
    except ValueError as error:
        return str(error)
    return "nothing"


def saved(training: Training, folder: Path, **more: Any) -> dict[str, Any]:
    """Train in shards; return the parameters of an unsharded model with the whole state, and what checkpoints say."""
    trainer = trainer_of(training, folder, **more)
    trainer.train()
    state = trainer.accelerator.get_state_dict(trainer.model)
    model = copy.deepcopy(base_model(folder))
    if trainer.is_world_process_zero():
        model.load_state_dict(state)
    refusal = message_of(functools.partial(train, training, save_strategy="steps", **more), folder)
    return {"parameters": parameters_of(model), "sharded": parameters_of(trainer.model), "refusal": refusal}


SPLIT = {"accelerator_config": {"split_batches": True}, "per_device_train_batch_size": BATCH}
"""Each process gets a part of the batches that a lone process would have, not batches of its own."""

SAMPLERS = {
    "default": ("classes", "batch_sampler"),
    "no_duplicates": ("classes", "no_duplicates"),
    "group_by_label": ("classes", "group_by_label"),
    "classes": ("classes", samplers.classes(per_class=2)),
    "hierarchy": ("levels", samplers.hierarchy(per_level=(1, 2))),
    "multi_label": ("sets", samplers.multi_label(per_label=2)),
    "numeric": ("numbers", samplers.numeric(per_quantile=1)),
    "lists": ("lists", samplers.lists()),
    "qrels": ("judgements", samplers.qrels()),
}
STREAMED = (
    "pairs", "scores", "classes", "names", "levels", "sets", "numbers", "vectors", "lists", "lists_without_grades",
    "judgements", "judged_lists", "columns_of_documents", "views",
)  # fmt: skip


def all_runs() -> dict[str, Callable[[Path], Any]]:
    """Return what runs in one process and in two, by name; FSDP last, which leaves its mark on the environment."""
    trainings = of_every_relevance()
    return (
        _runs_of_relevances(trainings) | _runs_of_kinds(trainings) | _runs_of_options(trainings)
        | _runs_of_weightings(trainings) | _runs_of_samplers(trainings) | _runs_of_cross_encoders(trainings)
        | _runs_in_shards(trainings)
    )  # fmt: skip


Runs = dict[str, Callable[[Path], Any]]


def _runs_of_relevances(trainings: Mapping[str, Training]) -> Runs:
    runs: Runs = {}
    for name, training in trainings.items():
        runs[f"{name}/plain"] = functools.partial(train, training)
        if training.loss is ANDCGLoss:
            runs[f"{name}/cached"] = functools.partial(train, replace(training, loss=cached))
    for name, training in with_gaps().items():
        runs[f"gaps/{name}"] = functools.partial(train, training)
    for name in STREAMED:
        training = replace(trainings[name], streaming=True, arguments={"max_steps": STEPS})
        runs[f"streamed/{name}"] = functools.partial(train, training)
        in_memory = replace(trainings[name], arguments={"batch_sampler": in_order})
        runs[f"in_order/{name}"] = functools.partial(train, in_memory)
    return runs


CROSS_ENCODERS = (
    ("", "lists", "lists"),
    ("", "pairs", "pairs"),
    ("", "classes", "classes_named"),
    ("apart_", "pairs", "apart"),
)


def _runs_of_cross_encoders(trainings: Mapping[str, Training]) -> Runs:
    losses = {
        "plain": functools.partial(CrossEncoderRankingLoss, mini_batch_size=7),
        "cached": functools.partial(CachedCrossEncoderRankingLoss, mini_batch_size=7),
    }
    return {
        f"{prefix}cross_encoder_{name}/{kind}": functools.partial(train_cross_encoder, trainings[training], make)
        for prefix, name, training in CROSS_ENCODERS
        for kind, make in losses.items()
    }


def _runs_of_weightings(trainings: Mapping[str, Training]) -> Runs:
    """Two epochs, of which the second leaves out rows by what the first has told."""
    weightings = {"paced": SelfPaced(last=0.5, pace=0.1), "neighbours": NeighbourAgreement(k=5, least=0.9)}
    runs: Runs = {}
    for name, weighting in weightings.items():
        for gather in (True, False):
            training = replace(
                trainings["classes_named"],
                options={"weighting": weighting, "gather_across_devices": gather},
                arguments={"num_train_epochs": 2, "batch_sampler": in_order},
            )
            runs[f"weighted/{name}/{'gathered' if gather else 'apart'}"] = functools.partial(train_weighted, training)
    runs["unlike_losses"] = unlike_losses
    return runs


def train_weighted(training: Training, folder: Path) -> dict[str, torch.Tensor]:
    """Train and return the parameters, and the weight of each row."""
    parameters = train(training, folder, steps=2 * STEPS)
    return {"parameters": parameters, "weights": training.options["weighting"].weights}


def _runs_of_kinds(trainings: Mapping[str, Training]) -> Runs:
    """Sparse and token embeddings, each with the trainer of its kind, plain and cached."""
    runs: Runs = {}
    for kind in ("sparse", "tokens"):
        for name in ("lists", "judgements", "negatives", "classes"):
            for loss in (ANDCGLoss, cached):
                training = replace(trainings[name], kind=kind, loss=loss, arguments={"learning_rate": 0.1})
                runs[f"{kind}/{name}/{'cached' if loss is cached else 'plain'}"] = functools.partial(train, training)
    return runs


def _runs_of_options(trainings: Mapping[str, Training]) -> Runs:
    lists = trainings["lists"]
    return _runs_of_chosen_lists(lists) | {
        "accumulation": functools.partial(train, lists, steps=3, gradient_accumulation_steps=2),
        "start": lambda folder: parameters_of(base_model(folder)),
        "bf16": functools.partial(train, lists, bf16=True),
        "workers": functools.partial(train, lists, dataloader_num_workers=1),
        "dropped_tail_of_3": functools.partial(train, longer(lists, ROWS + 3)),
        "dropped_tail_of_5": functools.partial(train, longer(lists, ROWS + 5)),
        "last_batch_of_5": functools.partial(train, longer(lists, ROWS + 5), steps=6, dataloader_drop_last=False),
        "several_datasets": several_datasets,
        "refusals": refusals,
        "evaluated/lists": functools.partial(evaluated, lists),
        "evaluated/classes": functools.partial(evaluated, trainings["classes"]),
    }


def _runs_of_chosen_lists(lists: Training) -> Runs:
    """Two epochs of lists that change in every epoch, from memory and streamed."""
    weights = {"weight": [i % 3 / 2 for i in range(ROWS)], "text_weight": [1.0 + i % 2 for i in range(ROWS)]}
    lists = replace(lists, columns=lists.columns | weights, arguments={"batch_sampler": in_order})
    streamed = replace(lists, arguments={"max_steps": 2 * STEPS})
    two = functools.partial(train, steps=2 * STEPS)
    return {
        "chosen/memory": functools.partial(two, replace(lists, shaped=chosen), num_train_epochs=2),
        "chosen/workers": functools.partial(
            two, replace(lists, shaped=chosen), num_train_epochs=2, dataloader_num_workers=2,
            dataloader_persistent_workers=True,
        ),
        "chosen/same": functools.partial(two, replace(lists, shaped=chosen_alike), num_train_epochs=2),
        "chosen/streamed": functools.partial(two, replace(streamed, shaped=chosen_streamed)),
        "chosen/generated": functools.partial(two, replace(streamed, shaped=chosen_generated)),
        "chosen/resumed": functools.partial(resumed, replace(lists, shaped=chosen), epoch=1),
    }  # fmt: skip


def chosen(dataset: Any) -> Any:
    return data.lists(dataset, most=2, seed=3)


def chosen_alike(dataset: Any) -> Any:
    """The lists of the first epoch in every epoch."""
    return Dataset.from_list(list(chosen(dataset)))


def chosen_streamed(dataset: Any) -> Any:
    return chosen(dataset.to_iterable_dataset())


def chosen_generated(dataset: Any) -> Any:
    return chosen(IterableDataset.from_generator(functools.partial(iter, dataset)))


def _runs_of_samplers(trainings: Mapping[str, Training]) -> Runs:
    runs: Runs = {}
    for name, (case, sampler) in SAMPLERS.items():
        training = replace(trainings[case], arguments={"batch_sampler": sampler})
        split = replace(training, arguments=training.arguments | SPLIT)
        runs[f"split/{name}"] = functools.partial(train, split, steps=None)
        for epoch in (0, 1):
            runs[f"resumed/{name}/{epoch}"] = functools.partial(resumed, longer(training, 2 * ROWS), epoch=epoch)
    return runs


def _runs_in_shards(trainings: Mapping[str, Training]) -> Runs:
    lists = trainings["lists"]
    runs: Runs = {f"{name}/fsdp": functools.partial(train, trainings[name], **SHARDED) for name in trainings}
    for name in ("pairs", "classes", "lists"):
        runs[f"{name}/fsdp_cached"] = functools.partial(train, replace(trainings[name], loss=cached), **SHARDED)
    runs["fsdp_accumulation"] = functools.partial(train, lists, steps=3, gradient_accumulation_steps=2, **SHARDED)
    runs["fsdp_evaluated"] = functools.partial(evaluated, lists, **SHARDED)
    runs["fsdp_saved"] = functools.partial(saved, lists, **SHARDED)
    return runs


SHARDED = {"fsdp": True, "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["BertLayer"]}}

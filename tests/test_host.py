"""What sentence-transformers' trainer offers beside training: our losses work with all of it."""

from __future__ import annotations

import copy

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainingArguments,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import Matryoshka2dLoss, MultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from transformers import EarlyStoppingCallback

from st_rankloss import (
    ANDCGLoss,
    ApproxNDCG,
    GradedInformationRetrievalEvaluator,
    RankingLoss,
    RankingTrainer,
    SoftmaxCrossEntropy,
)
from st_rankloss._host import inner_loss
from st_rankloss._models import EMBEDDERS, check_encoder
from st_rankloss.losses import CachedANDCGLoss, CachedRankingLoss
from tests.distributed.trainings import cases
from tests.models import Passing, older, tiny_bert, tiny_splade, watched, without_one_vector, word_model

WORDS = [f"w{i}" for i in range(40)]
LISTS = Dataset.from_dict(cases()["lists"][0])
PAIRS = Dataset.from_dict(cases()["pairs"][0])


def trainer_of(model, loss, folder, dataset=LISTS, callbacks=None, evaluator=None, **options):
    args = SentenceTransformerTrainingArguments(
        **{
            "output_dir": str(folder / "run"),
            "per_device_train_batch_size": 10,
            "max_steps": 8,
            "learning_rate": 5e-3,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 3,
        }
        | options
    )
    return RankingTrainer(
        model=model, args=args, train_dataset=dataset, loss=loss, callbacks=callbacks, evaluator=evaluator
    )


def losses_of(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


both = pytest.mark.parametrize(
    "make", [ANDCGLoss, lambda model: CachedANDCGLoss(model, mini_batch_size=4)], ids=["plain", "cached"]
)


@both
@pytest.mark.skipif(older("transformers", 5, 20), reason="transformers loads adapters wrongly before")
def test_lora_trains_its_adapter_alone_and_survives_saving(make, tmp_path):
    model = tiny_bert(tmp_path / "bert", WORDS)
    model.add_adapter(LoraConfig(task_type="FEATURE_EXTRACTION", r=4, target_modules=["query", "value"]))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = trainer_of(model, make(model), tmp_path, learning_rate=0.02, max_steps=24)
    trainer.train()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert min(losses_of(trainer)[-4:]) < losses_of(trainer)[0]
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    texts = WORDS[:5]
    assert torch.equal(model.eval().encode(texts, convert_to_tensor=True), again.encode(texts, convert_to_tensor=True))


@both
@pytest.mark.parametrize(
    "options",
    [
        {"bf16": True},
        {"gradient_checkpointing": True},
        {"gradient_accumulation_steps": 2},
        {"bf16": True, "gradient_checkpointing": True, "gradient_accumulation_steps": 2},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"prompts": {"text": "w0 w1", "documents": "w2"}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")  # of the host's renamed options
def test_options_of_the_trainer_train(make, options, tmp_path):
    model = tiny_bert(tmp_path / "bert", WORDS, dropout=0.0)
    trainer = trainer_of(model, make(model), tmp_path, max_steps=12, **options)
    trainer.train()
    history = losses_of(trainer)
    assert sum(history[-4:]) / 4 < sum(history[:4]) / 4 - 0.03


@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_checkpointing_changes_nothing(steps, tmp_path):
    models = []
    start = tiny_bert(tmp_path / "bert", WORDS, dropout=0.0)
    for on in (False, True):
        model = copy.deepcopy(start)
        options = {"gradient_checkpointing": on, "gradient_accumulation_steps": steps, "optim": "sgd"}
        trainer_of(model, ANDCGLoss(model), tmp_path, learning_rate=0.5, **options).train()
        models.append(flat(model))
    torch.testing.assert_close(*models, rtol=0, atol=1e-6)
    assert not torch.equal(models[0], flat(start))


@both
def test_resuming_repeats_the_loss_curve_to_the_bit(make, tmp_path):
    start = tiny_bert(tmp_path / "bert", WORDS)
    curves, ends = [], []
    for resumed in (False, True):
        model = copy.deepcopy(start)
        trainer = trainer_of(model, make(model), tmp_path, save_strategy="steps", save_steps=3, save_total_limit=9)
        if resumed:  # in the second of two epochs
            trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
        else:
            trainer.train()
        curves.append(losses_of(trainer))
        ends.append(flat(model))
    assert len(curves[0]) == 8
    assert curves[0] == curves[1]
    assert torch.equal(*ends)


def test_early_stopping_on_a_graded_evaluator_keeps_the_best_model(tmp_path):
    model = word_model(WORDS)
    rows = LISTS.to_list()
    evaluator = GradedInformationRetrievalEvaluator(
        queries={f"q{i}": row["text"] for i, row in enumerate(rows)},
        corpus={f"d{i}.{j}": text for i, row in enumerate(rows) for j, text in enumerate(row["documents"])},
        qrels={f"q{i}": {f"d{i}.{j}": g for j, g in enumerate(row["labels"])} for i, row in enumerate(rows)},
        name="own",
        write_csv=False,
    )
    trainer = trainer_of(
        model,
        ANDCGLoss(model),
        tmp_path,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        evaluator=evaluator,
        max_steps=200,
        learning_rate=2.0,  # learns at once, and then destroys
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_own_cosine_ndcg@10",
        greater_is_better=True,
    )
    trainer.train()
    key = "eval_own_cosine_ndcg@10"
    values = [entry[key] for entry in trainer.state.log_history if key in entry]
    assert trainer.state.global_step < 200
    assert max(values) > values[-1]
    assert evaluator(model)["own_cosine_ndcg@10"] == pytest.approx(max(values), abs=1e-9)


def test_several_datasets_have_a_loss_each_cached_or_not(tmp_path):
    model = tiny_bert(tmp_path / "bert", WORDS, dropout=0.0)
    losses = {
        "lists": CachedANDCGLoss(model, mini_batch_size=4),
        "pairs": RankingLoss(model, objective=ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()),
    }
    datasets = {"lists": LISTS, "pairs": PAIRS}
    before = flat(model)
    batches = [watched(loss) for loss in losses.values()]
    trainer = trainer_of(model, losses, tmp_path, datasets, max_steps=16)
    trainer.train()
    assert len(losses_of(trainer)) == 16
    assert not torch.equal(before, flat(model))
    assert all(seen[-1].learnable > 0.5 * seen[-1].total for seen in batches)


def test_the_model_card_tells_of_a_cached_loss(tmp_path):
    model = tiny_bert(tmp_path / "bert", WORDS)
    loss = CachedANDCGLoss(model, temperature=0.07, mini_batch_size=4)
    trainer = trainer_of(model, loss, tmp_path, max_steps=2)
    trainer.train()
    model.save_pretrained(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "loss:CachedANDCGLoss" in card
    assert '"objective": "ApproxNDCG(temperature=0.07' in card
    assert '"mini_batch_size": 4' in card
    assert "gu2021representation" in card


@pytest.mark.parametrize("make", [RankingLoss, ANDCGLoss, CachedRankingLoss, CachedANDCGLoss])
def test_models_of_other_kinds_are_refused_with_the_kinds_that_work(make, tmp_path):
    cross_encoder = without_one_vector(tmp_path, WORDS)[0]
    remedy = "; train a CrossEncoder with CrossEncoderRankingLoss"
    refused = {
        "'all-MiniLM-L6-v2'": "all-MiniLM-L6-v2",
        repr(SentenceTransformer): SentenceTransformer,
        "a BertModel": tiny_bert(tmp_path, WORDS)[0].auto_model,
        "a Linear": torch.nn.Linear(2, 2),
        f"a CrossEncoder{remedy}": cross_encoder,
    }
    for got, model in refused.items():
        with pytest.raises(TypeError) as error:
            make(model)
        kinds = "a SentenceTransformer, a SparseEncoder or a MultiVectorEncoder"
        assert str(error.value) == f"{make.__name__} needs {kinds}, got {got}."


def test_the_check_looks_through_compiled_and_distributed_models(tmp_path):
    class Distributed(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    other = without_one_vector(tmp_path, WORDS)[0]
    for wrap in (Distributed, torch.compile, lambda m: Distributed(torch.compile(m))):
        with pytest.raises(
            TypeError, match="Mining needs a SentenceTransformer, a .* or a MultiVectorEncoder, got a CrossEncoder"
        ):
            check_encoder(wrap(other), EMBEDDERS, "Mining")
        check_encoder(wrap(word_model(WORDS)), EMBEDDERS, "Mining")
    check_encoder(Passing(), EMBEDDERS, "Mining")


@pytest.mark.parametrize("make", [ANDCGLoss, lambda model: CachedANDCGLoss(model, mini_batch_size=4)])
def test_a_sparse_encoder_trains(make, tmp_path):
    model = tiny_splade(tmp_path / "splade", WORDS, dropout=0.0)
    args = SparseEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=20,
        max_steps=20,
        learning_rate=5e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = SparseEncoderTrainer(model=model, args=args, train_dataset=PAIRS, loss=make(model))
    trainer.train()
    assert sum(losses_of(trainer)[-4:]) < sum(losses_of(trainer)[:4]) - 0.2


def test_the_innermost_of_wrapped_losses_is_found(tmp_path):
    bert, splade = tiny_bert(tmp_path / "bert", WORDS), tiny_splade(tmp_path / "splade", WORDS)
    ours, theirs = ANDCGLoss(splade), MultipleNegativesRankingLoss(bert)
    assert inner_loss(Matryoshka2dLoss(bert, theirs, [32, 16])) is theirs
    assert inner_loss(SpladeLoss(splade, ours, 1e-3, 1e-3)) is ours
    assert inner_loss(ours) is ours

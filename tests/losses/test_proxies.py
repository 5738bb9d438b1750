"""ProxyLoss against pytorch-metric-learning, and what becomes of its centres in training."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from datasets import Dataset
from pytorch_metric_learning.losses import (
    ArcFaceLoss,
    CosFaceLoss,
    NormalizedSoftmaxLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
)
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from sentence_transformers.util import cos_sim
from transformers import TrainerCallback

from st_rankloss import ApproxNDCG, RankingLoss, RankingTrainer, SoftmaxCrossEntropy
from st_rankloss.functional import approx_ndcg
from st_rankloss.losses import ProxyLoss
from st_rankloss.objectives import (
    AcrossQueries,
    MannWhitney,
    Margin,
    MultiSimilarity,
    SetInformation,
    SharedNegatives,
    SupCon,
)
from st_rankloss.relevance import Classes, Hierarchy, Numeric, Vectors, encode_ids
from tests.models import Passing, columns_of, word_model
from tests.test_trainer import arguments

CLASSES, DIM = 5, 8
WORDS = [f"w{i}" for i in range(20)]


def samples(size: int = 15):
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(size, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    return embeddings, torch.arange(size) % CLASSES


def proxies(**settings) -> ProxyLoss:
    torch.manual_seed(0)
    loss = ProxyLoss(Passing(), **{"classes": CLASSES, "dimensions": DIM} | settings)
    return loss.double()


def of_theirs(loss, embeddings, labels, centres):
    """Value and gradients of a loss of pytorch-metric-learning with our centres."""
    parameter = loss.W if hasattr(loss, "W") else loss.proxies
    flipped = parameter.shape[0] == DIM
    parameter.data = centres.detach().T.clone() if flipped else centres.detach().clone()
    value = loss(embeddings, labels)
    of_samples, of_centres = torch.autograd.grad(value, (embeddings, parameter))
    return value, of_samples, of_centres.T if flipped else of_centres


THEIRS = [
    (NormalizedSoftmaxLoss, {"temperature": 0.1}, {"objective": SoftmaxCrossEntropy(0.1)}, 1),
    (CosFaceLoss, {"margin": 0.35, "scale": 16}, {"objective": Margin(SoftmaxCrossEntropy(1 / 16), 0.35)}, 1),
    (
        ArcFaceLoss,
        {"margin": math.degrees(0.5), "scale": 16},
        {"objective": Margin(SoftmaxCrossEntropy(1 / 16), 0, 0.5)},
        1,
    ),
    (ProxyNCALoss, {"softmax_scale": 3}, {"objective": SoftmaxCrossEntropy(1 / 6)}, 1),
    (
        ProxyAnchorLoss,
        {"margin": 0.1, "alpha": 8},
        {"objective": Margin(MultiSimilarity(8, 8, -0.1), 0.2), "lists": "samples"},
        8,
    ),
]


@pytest.mark.parametrize(("kind", "options", "settings", "factor"), THEIRS, ids=lambda x: getattr(x, "__name__", ""))
def test_values_and_gradients_are_those_of_pytorch_metric_learning(kind, options, settings, factor):
    embeddings, labels = samples()
    loss = proxies(**settings)
    theirs = of_theirs(
        kind(num_classes=CLASSES, embedding_size=DIM, **options).double(), embeddings, labels, loss.centres
    )
    value = factor * loss(columns_of([embeddings]), labels)
    ours = value, *torch.autograd.grad(value, (embeddings, loss.centres))
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
        assert wanted.norm() > 1e-2


def test_both_is_one_list_of_centres_and_the_other_samples():
    embeddings, labels = samples(6)
    loss = proxies(objective=SupCon(0.2), lists="both")
    value = loss(columns_of([embeddings]), labels)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (embeddings, loss.centres)]
    total = 0.0
    for i in range(6):
        others = [unit[0][j] for j in range(6) if j != i] + [*unit[1]]
        same = [bool(labels[j] == labels[i]) for j in range(6) if j != i] + [c == labels[i] for c in range(CLASSES)]
        logits = torch.stack([unit[0][i] @ other for other in others]) / 0.2
        total -= torch.stack([x for x, y in zip(logits.log_softmax(0), same, strict=True) if y]).mean()
    torch.testing.assert_close(value, total / 6)


def test_negatives_are_unified_over_pairs_of_samples_and_with_centres():
    """With all as far apart as the next, each relevant pair meets all the irrelevant ones of the batch."""
    embeddings = torch.eye(DIM, dtype=torch.float64)[:4].requires_grad_()
    loss = proxies(classes=4, objective=SharedNegatives(1.0, whisker=100.0), lists="both")
    loss.centres.data = torch.eye(DIM, dtype=torch.float64)[4:]
    value = loss(columns_of([embeddings]), torch.arange(4))
    assert value.item() == pytest.approx(math.log(1 + 4 * 3 + 4 * 3))


def test_centres_have_labels_for_any_relevance():
    embeddings, _ = samples(6)
    ages = torch.tensor([1.0, 5.0, 2.0, 9.0, 7.0, 3.0], dtype=torch.float64)
    bins = torch.tensor([0.0, 4.0, 8.0], dtype=torch.float64)
    loss = proxies(classes=bins, objective=ApproxNDCG(), relevance=Numeric())
    wanted = 1 - approx_ndcg(cos_sim(embeddings, loss.centres), Numeric()(ages, bins), temperature=0.05)
    torch.testing.assert_close(loss(columns_of([embeddings]), ages), wanted.mean())
    paths = torch.tensor([[0, 0], [0, 1], [1, 2]])
    assert proxies(classes=paths, relevance=Hierarchy())(columns_of([embeddings[:3]]), paths) > 0


@pytest.mark.parametrize("lists", ["centres", "samples", "both"])
def test_a_sample_without_a_label_has_no_part(lists):
    embeddings, labels = samples(8)
    loss = proxies(lists=lists)
    wanted = loss(columns_of([embeddings]), labels)
    more = torch.cat([embeddings, torch.ones(1, DIM, dtype=torch.float64)])
    with pytest.warns(UserWarning, match="no label"):
        found = loss(columns_of([more]), torch.cat([labels, torch.tensor([-1])]))
    torch.testing.assert_close(found, wanted)


def test_samples_weigh_in_the_one_list_of_all_centres():
    embeddings, labels = samples(8)
    loss = proxies(objective=AcrossQueries(MannWhitney()))
    weights = torch.tensor([1.0, 0, 1, 0, 1, 1, 0, 1])
    found = loss(columns_of([embeddings]), {"label": labels, "row_weights": weights})
    kept = weights > 0
    torch.testing.assert_close(found, loss(columns_of([embeddings[kept]]), labels[kept]))


def test_centres_keep_their_precision_beside_halves():
    embeddings = samples(8)[0].bfloat16()
    loss = proxies().float()
    found = loss(columns_of([embeddings]), torch.arange(8) % CLASSES)
    torch.testing.assert_close(found, loss(columns_of([embeddings.float()]), torch.arange(8) % CLASSES))


def test_smaller_embeddings_meet_the_first_dimensions():
    embeddings, labels = samples()
    loss = proxies()
    short = loss(columns_of([embeddings[:, :3]]), labels)
    loss.centres.data[:, 3:] = 0
    torch.testing.assert_close(loss(columns_of([torch.nn.functional.pad(embeddings[:, :3], (0, 5))]), labels), short)
    model = word_model(WORDS, DIM)
    wrapped = MatryoshkaLoss(model, ProxyLoss(model, classes=CLASSES), [DIM, 4])
    assert wrapped([model.preprocess(WORDS[:5])], torch.arange(5)).item() > 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"classes": 1}, ValueError, "classes must be an integer of at least 2, got 1"),
        ({"classes": ["a", "a"]}, ValueError, r"two or more different names, got \['a', 'a'\]"),
        ({"classes": "ab"}, TypeError, "classes must be a number, a list of names, or a tensor of labels, got 'ab'"),
        ({"classes": torch.tensor(3)}, ValueError, r"a label for each of two or more centres, got \(\)"),
        ({"dimensions": None}, ValueError, "dimensions must be passed, because the model does not declare"),
        ({"dimensions": 0}, ValueError, "dimensions must be an integer of at least 1, got 0"),
        ({"lists": "all"}, ValueError, "lists must be one of 'centres', 'samples', 'both', got 'all'"),
        ({"objective": SetInformation()}, ValueError, "SetInformation needs every sample to be a query and a document"),
        ({"objective": torch.nn.Linear(2, 2)}, ValueError, "objective must not have trainable parameters"),
    ],
)
def test_wrong_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        proxies(**settings)


def test_wrong_batches_are_refused():
    embeddings, labels = samples()
    column = columns_of([embeddings])
    with pytest.raises(ValueError, match="labels must be among the 5 classes, got 5: ids from 0"):
        proxies()(column, labels + 1)
    vectors = proxies(classes=torch.randn(5, 4), relevance=Vectors())
    with pytest.raises(ValueError, match=r"as many numbers as those of classes, got shapes \(\d+, 3\) and \(5, 4\)"):
        vectors(column, torch.randn(len(embeddings), 3))
    with pytest.raises(ValueError, match=r"among the 2 classes \['red', 'blue'\], got another name: ids from 0"):
        proxies(classes=["red", "blue"])(column, {"label": encode_ids(["green"] * len(labels)), "kind": "class"})
    with pytest.raises(ValueError, match="ProxyLoss needs one input column, whose samples have labels, got 2"):
        proxies()(column * 2, labels)
    with pytest.raises(ValueError, match="needs labels for a single input column"):
        proxies()(column)
    with pytest.raises(ValueError, match="reads classes and numbers, got path, whose codes differ"):
        proxies()(column, {"label": torch.zeros(15, 2, dtype=torch.long), "kind": "path"})
    weighted = {"label": labels, "row_weights": torch.ones(15)}
    with pytest.raises(ValueError, match="with lists='samples' the centres are"):
        proxies(lists="samples")(column, weighted)
    assert proxies()(column, weighted) > 0


def trainer_of(folder, loss, *, names=False, data=None, losses=None, **options) -> RankingTrainer:
    labels = [f"class {i % 4}" if names else i % 4 for i in range(20)]
    return RankingTrainer(
        model=loss.model,
        args=SentenceTransformerTrainingArguments(
            **{
                "output_dir": str(folder),
                "per_device_train_batch_size": 5,
                "num_train_epochs": 2,
                "learning_rate": 1e-2,
                "learning_rate_mapping": {"centres": 3e-2},
                "report_to": "none",
                "disable_tqdm": True,
                "save_strategy": "steps",
                "save_steps": 3,
                "logging_steps": 1,
                "use_cpu": True,
            }
            | options
        ),
        train_dataset=data or Dataset.from_dict({"text": WORDS, "label": labels}),
        loss=losses or loss,
    )


def new_loss(classes=4) -> ProxyLoss:
    torch.manual_seed(0)
    return ProxyLoss(word_model(WORDS, DIM), classes=classes, objective=Margin(SoftmaxCrossEntropy(0.1)))


def test_the_trainer_trains_centres_with_a_learning_rate_of_their_own(tmp_path):
    loss = new_loss([f"class {i}" for i in range(4)])
    start = loss.centres.detach().clone()
    trainer = trainer_of(tmp_path, loss, names=True, num_train_epochs=40, learning_rate=3e-2, save_strategy="no")
    trainer.train()
    assert (loss.centres - start).norm() > 0.5
    unit = torch.nn.functional.normalize(torch.as_tensor(loss.model.encode(WORDS)), dim=1)
    nearest = (unit @ torch.nn.functional.normalize(loss.centres.detach(), dim=1).T).argmax(1)
    assert nearest.tolist() == [i % 4 for i in range(20)]


def test_resuming_repeats_centres_and_model_to_the_bit(tmp_path):
    whole = new_loss()
    trainer_of(tmp_path, whole).train()
    resumed = new_loss()
    resumed.centres.data.zero_()  # other centres, which the checkpoint replaces
    trainer_of(tmp_path, resumed).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert torch.equal(resumed.centres, whole.centres)
    assert torch.equal(resumed.model[0].embedding.weight, whole.model[0].embedding.weight)
    saved = load_file(tmp_path / "checkpoint-8" / "loss.safetensors")
    assert torch.equal(saved["loss.centres"], whole.centres)


def test_datasets_that_share_a_loss_save_and_resume_its_centres(tmp_path):
    def train(**options) -> torch.Tensor:
        loss = new_loss()
        data = {name: Dataset.from_dict({"text": WORDS, "label": [i % 4 for i in range(20)]}) for name in "ab"}
        trainer = trainer_of(
            tmp_path, loss, data=data, losses={"a": loss, "b": MatryoshkaLoss(loss.model, loss, [DIM])}
        )
        trainer.train(**options)
        return loss.centres

    whole = train()
    assert torch.equal(train(resume_from_checkpoint=str(tmp_path / "checkpoint-3")), whole)


def test_a_checkpoint_without_the_centres_is_refused(tmp_path):
    trainer_of(tmp_path, new_loss()).train()
    (tmp_path / "checkpoint-3" / "loss.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"must have the parameters of the loss, {.*'loss.centres': .*}, got no such file"
    ):
        trainer_of(tmp_path, new_loss()).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_centres_of_other_classes_or_of_another_order_are_refused(tmp_path):
    names = [f"class {i}" for i in range(4)]
    trainer_of(tmp_path, new_loss(names), names=True).train()
    resume = {"resume_from_checkpoint": str(tmp_path / "checkpoint-3")}
    with pytest.raises(ValueError, match=r"'loss.centres': \(5, 8\).*, got .*'loss.centres': \(4, 8\)"):
        trainer_of(tmp_path, new_loss([*names, "more"]), names=True).train(**resume)
    with pytest.raises(ValueError, match=r"must have the loss.classes of the loss, in its order"):
        trainer_of(tmp_path, new_loss(names[::-1]), names=True).train(**resume)


def test_a_loss_without_parameters_saves_no_file(tmp_path):
    model = word_model(WORDS, DIM)
    trainer_of(tmp_path, RankingLoss(model, relevance=Classes()), learning_rate_mapping={}).train()
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-3" / "loss.safetensors").exists()


def test_a_copy_has_centres_of_its_own():
    loss = new_loss()
    twin = copy.deepcopy(loss)
    twin.centres.data.zero_()
    assert loss.centres.norm() > 1
    assert loss.get_config_dict()["classes"] == 4


def test_centres_are_as_wide_as_embeddings_in_training():
    model = word_model(WORDS, DIM)
    features, labels = model.preprocess(WORDS[:4]), torch.arange(4) % CLASSES
    torch.manual_seed(0)
    expected = ProxyLoss(model, classes=CLASSES)([dict(features)], labels).item()
    model.truncate_dim = DIM // 2
    torch.manual_seed(0)
    assert ProxyLoss(model, classes=CLASSES)([dict(features)], labels).item() == expected
    with pytest.raises(ValueError, match=f"centres must have at least the dimensions of the embeddings, {DIM}, got 2"):
        ProxyLoss(model, classes=CLASSES, dimensions=2)([dict(features)], labels)


def test_every_trial_of_a_search_starts_from_the_same_centres(tmp_path):
    starts = []

    class Look(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            starts.append(trainer.loss.centres.detach().clone())

    rows = Dataset.from_dict({"text": WORDS[:8], "label": [n % 2 for n in range(8)]})
    trainer = RankingTrainer(
        model_init=lambda trial=None: word_model(WORDS, DIM),
        args=arguments(tmp_path, max_steps=4, per_device_train_batch_size=4),
        train_dataset=rows,
        eval_dataset=rows,
        loss=lambda model: ProxyLoss(model, classes=2),
        callbacks=[Look()],
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.1, 0.2)}, n_trials=2
    )
    assert len(starts) == 2
    assert torch.equal(*starts)
    assert not torch.equal(trainer.loss.centres, starts[0])

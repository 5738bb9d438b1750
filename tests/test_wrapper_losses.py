"""Every wrapper loss of sentence-transformers around every loss of ours: as around a plain loss."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
    sentence_transformer,
    sparse_encoder,
)
from sentence_transformers.sentence_transformer.losses import (
    AdaptiveLayerLoss,
    Matryoshka2dLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sparse_encoder.losses import (
    CachedSpladeLoss,
    CSRLoss,
    SparseMultipleNegativesRankingLoss,
    SpladeLoss,
)
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from sentence_transformers.util import dot_score
from torch import nn

from st_rankloss import ANDCGLoss, ApproxNDCG, CachedANDCGLoss, CachedRankingLoss, RankingLoss, SoftmaxCrossEntropy
from st_rankloss.relevance import Pairs
from tests.losses.test_ranking import cosines, dots, plain_loss
from tests.models import cached_tolerance, tiny_bert, tiny_splade

WORDS = [f"w{i}" for i in range(24)]
ROWS = 7

WRAPPERS = {
    MatryoshkaLoss: lambda model, loss: MatryoshkaLoss(model, loss, [32, 16, 5], [1.0, 0.5, 2.0]),
    AdaptiveLayerLoss: lambda model, loss: AdaptiveLayerLoss(model, loss, n_layers_per_step=-1, kl_div_weight=0.3),
    Matryoshka2dLoss: lambda model, loss: Matryoshka2dLoss(model, loss, [32, 8], None, -1, -1),
    SpladeLoss: lambda model, loss: SpladeLoss(model, loss, 0.01, 0.02),
    CachedSpladeLoss: lambda model, loss: CachedSpladeLoss(model, loss, 0.01, 0.02, mini_batch_size=3),
    CSRLoss: lambda model, loss: CSRLoss(model, loss, gamma=0.7),
}
SPARSE = (SpladeLoss, CachedSpladeLoss, CSRLoss)
REPLAYING = (AdaptiveLayerLoss, Matryoshka2dLoss)
CACHED = (CachedRankingLoss, CachedANDCGLoss)


class Plain(nn.Module):
    """A weighted sum of the host's own softmax and of A-NDCG by its definition, from whole matrices."""

    def __init__(self, model, softmax, ndcg, *, sparse):
        super().__init__()
        self.model, self.softmax, self.ndcg = model, softmax, ndcg
        self.theirs = SparseMultipleNegativesRankingLoss(model) if sparse else MultipleNegativesRankingLoss(model)
        self.similarity = dots if sparse else cosines

    def forward(self, sentence_features, labels):
        embeddings = [self.model(column)["sentence_embedding"] for column in sentence_features]
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(self, embeddings, labels):
        documents = ROWS * (len(embeddings) - 1)
        relevance = [[float(d == q) for d in range(documents)] for q in range(ROWS)]
        loss = 0.0
        if self.softmax:
            loss = loss + self.softmax * self.theirs.compute_loss_from_embeddings(embeddings, None)
        if self.ndcg:
            loss = loss + self.ndcg * plain_loss(embeddings, relevance, self.similarity)
        return loss


def softmax_like(wrapper):
    """Our objective that is the host's loss of the wrapper's kind of model."""
    return SoftmaxCrossEntropy(1.0 if wrapper in SPARSE else 1 / 20)


LOSSES = {
    "softmax": (RankingLoss, (1, 0), lambda wrapper: {"objective": softmax_like(wrapper), "relevance": Pairs()}),
    "mixture": (
        RankingLoss,
        (0.3, 2),
        lambda wrapper: {"objective": 2 * ApproxNDCG() + 0.3 * softmax_like(wrapper), "relevance": Pairs()},
    ),
    "ndcg": (ANDCGLoss, (0, 1), lambda wrapper: {"relevance": Pairs()}),
}
LOSSES |= {
    f"cached_{name}": (CachedRankingLoss if make is RankingLoss else CachedANDCGLoss, weights, arguments)
    for name, (make, weights, arguments) in LOSSES.items()
}


def model_for(wrapper, folder):
    """A model in float64, without dropout."""
    if wrapper in (SpladeLoss, CachedSpladeLoss):
        model = tiny_splade(folder, WORDS, dropout=0.0)
    elif wrapper is CSRLoss:
        bert = tiny_bert(folder, WORDS, dropout=0.0)
        coder = SparseAutoEncoder(input_dim=32, hidden_dim=64, k=8, k_aux=16)
        model = SparseEncoder(modules=[*bert, coder], device="cpu")
    else:
        model = tiny_bert(folder, WORDS, dropout=0.0)
    with torch.no_grad():  # so that layers differ, and no neuron is dead
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.double()


def features_of(model):
    """Queries, documents and negatives of other lengths, as the trainer hands them to a loss."""
    columns = [
        [" ".join(WORDS[(step * row + shift + i) % 24] for i in range(1 + (row + shift) % 4)) for row in range(ROWS)]
        for shift, step in ((0, 3), (1, 3), (5, 7))
    ]
    return [dict(model.preprocess(column)) for column in columns]


def ours(name, wrapper, model):
    make, _, arguments = LOSSES[name]
    options = {"mini_batch_size": 3} if make in CACHED else {}
    if make in (ANDCGLoss, CachedANDCGLoss):
        options["temperature"] = 0.05
    return (
        make(model, **arguments(wrapper), similarity_fct=dot_score, **options)
        if wrapper in SPARSE
        else make(model, **arguments(wrapper), **options)
    )


def total(loss):
    """What the trainer makes of a loss."""
    return torch.stack(list(loss.values())).sum() if isinstance(loss, dict) else loss


def value_and_gradients(wrapped, model):
    loss = total(wrapped(features_of(model), None))
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:AdaptiveLayerLoss is not compatible")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: wrapper.__name__)
def test_a_wrapped_loss_is_the_plain_loss_in_the_same_wrapper(wrapper, name, tmp_path):
    make, (softmax, ndcg), _ = LOSSES[name]
    model = model_for(wrapper, tmp_path)
    loss = WRAPPERS[wrapper](model, ours(name, wrapper, model))
    if wrapper in REPLAYING and make in CACHED:
        with pytest.raises(
            ValueError, match=f"{make.__name__} does not work in AdaptiveLayerLoss .* Use {make.__name__[6:]} th"
        ):
            loss(features_of(model), None)
        return

    other = copy.deepcopy(model)
    plain = WRAPPERS[wrapper](other, Plain(other, softmax, ndcg, sparse=wrapper in SPARSE))
    value, gradients = value_and_gradients(loss, model)
    expected, wanted = value_and_gradients(plain, other)
    tolerance = 1e-6 if wrapper is CachedSpladeLoss else 1e-9  # the host takes its terms through float32
    assert value == pytest.approx(expected, rel=tolerance)
    assert gradients.keys() == wanted.keys()
    largest = max(gradient.abs().max() for gradient in wanted.values())
    assert largest > 1e-3
    accuracy = 10 * cached_tolerance() if make in CACHED else 1e-9
    for parameter, gradient in gradients.items():
        assert (gradient - wanted[parameter]).abs().max() <= accuracy * largest, parameter
    with torch.no_grad():
        assert total(loss(features_of(model), None)).item() == pytest.approx(expected, rel=tolerance)


def test_no_wrapper_of_the_host_is_forgotten():
    modules = (sentence_transformer.losses, sparse_encoder.losses)
    hosts = {getattr(module, name) for module in modules for name in module.__all__}
    wrapping = {x for x in hosts if inspect.isclass(x) and "loss" in inspect.signature(x.__init__).parameters}
    assert wrapping == set(WRAPPERS)


@pytest.mark.parametrize("wrapper", [SpladeLoss, CSRLoss, CachedSpladeLoss], ids=lambda wrapper: wrapper.__name__)
def test_the_trainer_logs_the_terms_of_a_wrapped_mixture(wrapper, tmp_path):
    model = model_for(wrapper, tmp_path / "model").float()
    columns = {
        name: model.tokenizer.batch_decode(features["input_ids"], skip_special_tokens=True)
        for name, features in zip(("query", "document", "negative"), features_of(model), strict=True)
    }
    args = SparseEncoderTrainingArguments(
        str(tmp_path / "run"),
        per_device_train_batch_size=ROWS,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    loss = WRAPPERS[wrapper](model, ours("mixture", wrapper, model))
    trainer = SparseEncoderTrainer(model=model, args=args, train_dataset=Dataset.from_dict(columns), loss=loss)
    trainer.train()
    for entry in trainer.state.log_history[:2]:
        terms = {name: value for name, value in entry.items() if name[0].isupper() or "_loss" in name}
        assert {"ApproxNDCG", "SoftmaxCrossEntropy"} < set(terms)
        assert sum(terms.values()) == pytest.approx(entry["loss"], abs=3e-4)  # the trainer rounds to four places

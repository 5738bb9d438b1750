"""ConfidenceRankingLoss: what it computes, and that it leaves the old model alone."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.util import cos_sim

from st_rankloss import ApproxNDCG
from st_rankloss.losses import ConfidenceRankingLoss, EmbeddingMixup, HardNegativeMixup
from st_rankloss.relevance import Classes
from tests.models import watched, word_model

WORDS = [f"w{i}" for i in range(12)]
LABELS = [i % 3 for i in range(12)]


def older(model) -> SentenceTransformer:
    """A model of the same words, with other embeddings of another size."""
    torch.manual_seed(1)
    other = word_model(WORDS, 6)
    other[0].embedding.weight.data.normal_()
    return other


def softplus(x: float) -> float:
    return torch.nn.functional.softplus(torch.tensor(x, dtype=torch.float64)).item()


def test_a_pair_loses_by_the_margin_of_the_old_model():
    model = word_model(WORDS, 8)
    reference = older(model)
    loss = ConfidenceRankingLoss(model, reference=reference, relevance=Classes())
    value = loss([model.preprocess(WORDS)], torch.tensor(LABELS))
    new, old = (cos_sim(m.encode(WORDS), m.encode(WORDS)).double().tolist() for m in (model, reference))
    losses = []
    for q in range(12):
        relevant = [d for d in range(12) if d != q and LABELS[d] == LABELS[q]]
        others = [d for d in range(12) if LABELS[d] != LABELS[q]]
        gaps = [(new[q][j] - new[q][k]) - (old[q][j] - old[q][k]) for j in relevant for k in others]
        losses.append(sum(softplus(-gap / 0.1) for gap in gaps) / len(gaps))
    assert value.item() == pytest.approx(sum(losses) / 12, rel=1e-4)
    value.backward()
    assert model[0].embedding.weight.grad.norm() > 1e-3
    assert reference[0].embedding.weight.grad is None


def test_a_copy_of_the_model_gains_nothing_yet():
    model = word_model(WORDS, 8)
    loss = ConfidenceRankingLoss(model, reference=copy.deepcopy(model), relevance=Classes())
    assert loss([model.preprocess(WORDS)], torch.tensor(LABELS)).item() == pytest.approx(0.6931, abs=1e-4)


def test_training_beats_the_old_model_which_stays_as_it_is(tmp_path):
    model = word_model(WORDS, 8)
    reference = copy.deepcopy(model)
    before = reference[0].embedding.weight.detach().clone()
    loss = ConfidenceRankingLoss(model, reference=reference, relevance=Classes())
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=12,
        num_train_epochs=30,
        learning_rate=3e-2,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        use_cpu=True,
    )
    data = Dataset.from_dict({"text": WORDS, "label": LABELS})
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train()
    assert torch.equal(reference[0].embedding.weight, before)
    assert loss([model.preprocess(WORDS)], torch.tensor(LABELS)).item() < 0.2


def test_options_are_those_of_every_loss():
    model = word_model(WORDS, 8)
    objective = ApproxNDCG("auto")
    loss = ConfidenceRankingLoss(model, reference=older(model), objective=objective, block_size=2, symmetric=True)
    columns = [model.preprocess(WORDS[:6]), model.preprocess(WORDS[6:])]
    whole = ConfidenceRankingLoss(model, reference=older(model), objective=objective, symmetric=True)
    torch.testing.assert_close(loss([dict(c) for c in columns]), whole(columns))
    config = json.loads(json.dumps(loss.get_config_dict()))
    assert config["similarity_fct"] == "gain_in_cos_sim"


def test_a_reference_that_cannot_be_one_is_refused():
    model = word_model(WORDS, 8)
    with pytest.raises(ValueError, match=r"reference must not be the model itself, .* pass copy.deepcopy\(model\)"):
        ConfidenceRankingLoss(model, reference=model)
    with pytest.raises(ValueError, match="reference must have the vocabulary of the model"):
        ConfidenceRankingLoss(model, reference=word_model(WORDS[:5]))
    with pytest.raises(TypeError, match="reference needs a SentenceTransformer, got 'a model'"):
        ConfidenceRankingLoss(model, reference="a model")
    assert model[0].embedding.weight.requires_grad


def test_mixtures_that_need_the_cosine_are_refused_and_the_reference_stays_as_it_is():
    model = word_model(WORDS, 8)
    reference = older(model)
    with pytest.raises(ValueError, match="HardNegativeMixup makes mixtures that cos_sim or dot_score compares"):
        ConfidenceRankingLoss(model, reference=reference, mixup=HardNegativeMixup())
    assert reference[0].embedding.weight.requires_grad
    loss = ConfidenceRankingLoss(model, reference=reference, relevance=Classes(), mixup=EmbeddingMixup())
    assert loss([model.preprocess(WORDS)], torch.tensor(LABELS)).item() > 0


def test_a_reference_that_truncates_what_it_encodes_is_compared_as_it_trains():
    model = word_model(WORDS)
    reference = older(model)
    features = [model.preprocess(WORDS[:4]), model.preprocess(WORDS[4:8])]

    def loss_of(reference):
        return ConfidenceRankingLoss(model, reference=reference)([dict(column) for column in features]).item()

    expected = loss_of(copy.deepcopy(reference))
    reference.truncate_dim = reference.get_embedding_dimension() // 2
    assert loss_of(reference) == expected
    assert reference.truncate_dim == reference.get_embedding_dimension()


def test_others_see_the_model_alone():
    model = word_model(WORDS, 8)
    loss = ConfidenceRankingLoss(model, reference=older(model), relevance=Classes())
    seen = watched(loss)
    features = model.preprocess(WORDS)
    loss([features], torch.tensor(LABELS))
    torch.testing.assert_close(seen[0].vectors, model(model.preprocess(WORDS))["sentence_embedding"])


def test_embeddings_of_one_model_are_refused():
    model = word_model(WORDS, 8)
    loss = ConfidenceRankingLoss(model, reference=older(model), relevance=Classes())
    with pytest.raises(TypeError, match="ConfidenceRankingLoss compares embeddings of two models: call it with inputs"):
        loss.compute_loss_from_embeddings([torch.randn(12, 8)], torch.tensor(LABELS))


def test_a_pickled_copy_computes_the_same():
    model = word_model(WORDS, 8)
    loss = ConfidenceRankingLoss(model, reference=older(model), relevance=Classes())
    copied = pickle.loads(pickle.dumps(loss))
    values = [each([model.preprocess(WORDS)], torch.tensor(LABELS)).item() for each in (loss, copied)]
    assert values[0] == values[1] > 0

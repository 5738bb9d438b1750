"""Encoders: weights, words and memory of texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from eval.tasks.data import Data, Samples
from eval.training import encoders
from eval.training.encoders import make_encoder
from tests.eval.tiny import WORDS, weights


def test_random_weights_depend_on_the_seed_alone(world):
    data = world.data("alike")
    first, again, other = (weights(make_encoder("static", [data], seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_an_encoder_embeds_as_if_it_remembered_nothing(world):
    model = make_encoder("static", [world.data("alike")], 0)
    texts = [*world.data("alike").texts()[:5], "a text of words never seen", "", *world.data("alike").texts()[:2]]
    module = model[0]
    plain = StaticEmbedding(module.tokenizer, embedding_weights=module.embedding.weight.detach().numpy())
    for _ in range(2):
        features = {name: value.to(model.device) for name, value in module.preprocess(texts).items()}
        expected = plain.forward({name: value.cpu() for name, value in plain.preprocess(texts).items()})
        torch.testing.assert_close(
            module(features)["sentence_embedding"].cpu(), expected["sentence_embedding"], equal_nan=True
        )


def test_an_encoder_has_the_words_of_its_own_data_whatever_was_read_before(world, monkeypatch):
    def made(words):
        data = Data(world.records["lines"])
        data.parts = {"train": Samples([f"{a} {b}" for a in words for b in words], torch.empty(len(words) ** 2, 0), [])}
        return data

    monkeypatch.setattr(encoders, "id", lambda value: -1, raising=False)  # as if the second lay where the first one had
    make_encoder("static", [made(WORDS[:6])], 0)
    vocabulary = make_encoder("static", [made([f"new{word}" for word in WORDS[:6]])], 0)[0].tokenizer.get_vocab()
    assert any("new" in token for token in vocabulary)


def test_a_bert_from_scratch_embeds_the_mean_of_all_its_tokens_and_depends_on_the_seed_alone(world):
    data = world.data("alike")
    first, again, other = (make_encoder("bert", [data], seed) for seed in (0, 0, 1))
    texts = data.texts()[:3]
    assert np.array_equal(first.encode(texts), again.encode(texts))
    assert not np.allclose(first.encode(texts), other.encode(texts))
    features = first.preprocess(texts[:1])
    found = first[0](dict(features))["token_embeddings"].mean(1)
    assert found.detach().cpu().numpy() == pytest.approx(first.encode(texts[:1]), abs=1e-5)


@pytest.mark.slow
def test_two_layers_of_minilm_are_its_first_two(world):
    data = [world.data("alike")]
    whole, cut = (make_encoder(name, data, 0)[0].auto_model for name in ("minilm", "minilm-2"))
    inputs = {"input_ids": torch.tensor([[101, 7592, 102]])}
    expected = whole.eval()(**inputs, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(cut.eval()(**inputs).last_hidden_state, expected)


def test_an_unknown_encoder_has_close_names(world):
    with pytest.raises(ValueError, match="unknown encoder .*'minilm2'; did you mean minilm"):
        make_encoder("minilm2", [world.data("alike")], 0)

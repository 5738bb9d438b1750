"""Encoders by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from st_rankloss.encoders import kind_of, make_encoder, train_tokenizer
from tests.models import tiny_cross_encoder, tiny_multi_vector, tiny_splade, word_model

TEXTS = ["red roses are red", "blue skies are blue"]


def test_an_encoder_from_scratch_is_the_same_for_the_same_seed():
    first, second, other = (make_encoder("static", TEXTS, seed=seed, dimensions=16) for seed in (1, 1, 2))
    assert torch.equal(first[0].embedding.weight, second[0].embedding.weight)
    assert not torch.equal(first[0].embedding.weight, other[0].embedding.weight)
    assert first.encode("red").shape == (16,)


def test_the_static_encoder_of_minilm_averages_its_word_embeddings():
    model, minilm = make_encoder("static-minilm"), make_encoder("minilm")
    words = minilm[0].auto_model.get_input_embeddings().weight.cpu()
    ids = minilm.tokenizer("red roses", add_special_tokens=False)["input_ids"]
    assert torch.allclose(model.encode("red roses", convert_to_tensor=True).cpu(), words[ids].mean(0), atol=1e-6)
    model[0].embedding.weight.data.fill_(0)
    assert make_encoder("static-minilm")[0].embedding.weight.any()  # the weights are a copy


def test_kinds_of_encoders_are_told_apart():
    assert kind_of(make_encoder("static", TEXTS)) == "static"
    assert kind_of(make_encoder("static-minilm")) == "static-minilm"
    assert kind_of(make_encoder("minilm")) == "transformer"


def test_a_folder_is_loaded(tmp_path):
    word_model(["red"]).save_pretrained(str(tmp_path))
    assert make_encoder(str(tmp_path)).get_embedding_dimension() == 16


def test_a_missing_model_is_named():
    with pytest.raises(ValueError, match="'/no/such/folder'.*|.*'static'"):
        make_encoder("/no/such/folder")


def test_a_tokenizer_needs_texts():
    with pytest.raises(ValueError, match="texts"):
        train_tokenizer([], 300)


@pytest.mark.parametrize("make", [tiny_splade, tiny_multi_vector, tiny_cross_encoder])
def test_a_model_of_another_kind_is_not_converted(make, tmp_path):
    model = make(tmp_path / "bert", ["red"])
    model.save_pretrained(str(tmp_path / "saved"))
    kind = type(model).__name__
    scored = "GradedRerankingEvaluator" if kind == "CrossEncoder" else "GradedInformationRetrievalEvaluator"
    message = f"got the {kind} '.*saved': other kinds train .* {kind}RankingTrainer, and are scored by {scored}"
    with pytest.raises(ValueError, match=message):
        make_encoder(str(tmp_path / "saved"), device="cpu")


def test_built_in_encoders_never_ask_the_hub():
    script = """
import socket

def refuse(host, *rest, **options):
    raise SystemExit(f"asked {host}")

socket.getaddrinfo = refuse
from st_rankloss.encoders import make_encoder

make_encoder("minilm"), make_encoder("static-minilm"), make_encoder("static", ["red"])
"""
    online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    run = subprocess.run([sys.executable, "-c", script], env=online, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]

"""A language model's probabilities and answers, against one prompt at a time without padding."""

from __future__ import annotations

import random

import pytest
import torch

from st_rankloss.judges import LanguageModel
from st_rankloss.judges.language_model import _longest
from tests.judges.models import MODELS, TEMPLATE, greedy, letter_tokenizer, log_probability, tiny_gpt2

DRAW = random.Random(0)
PROMPTS = ["".join(DRAW.choices("abc xyz", k=DRAW.randint(1, 40))) for _ in range(9)]
TEXTS = {
    "one token": ["0", "1", "2", "3"],
    "several tokens": ["no", "perhaps", "yes"],
    "the last token differs": ["grade 1", "grade 2"],
    "one continues another's beginning": ["10", "2", "11", "125"],
}


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_are_those_of_single_prompts_without_padding(name, texts):
    tokenizer, texts = letter_tokenizer(), TEXTS[texts]
    model = MODELS[name]()
    expected = [[log_probability(model, tokenizer, prompt, text) for text in texts] for prompt in PROMPTS]
    assert max(map(max, expected)) - min(map(min, expected)) > 1
    for batch_size in (1, 4, 100):
        scores = LanguageModel(model, tokenizer, batch_size=batch_size).log_probabilities(PROMPTS, texts)
        assert scores.shape == (len(PROMPTS), len(texts))
        torch.testing.assert_close(scores, torch.tensor(expected), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("texts", TEXTS)
def test_the_order_of_the_texts_does_not_matter(texts):
    model, texts = LanguageModel(tiny_gpt2(), letter_tokenizer()), TEXTS[texts]
    straight = model.log_probabilities(PROMPTS, texts)
    torch.testing.assert_close(model.log_probabilities(PROMPTS, texts[::-1]).flip(1), straight)


def test_the_side_on_which_the_tokenizer_pads_does_not_matter():
    scores = []
    for side in ("left", "right"):
        tokenizer = letter_tokenizer()
        tokenizer.padding_side = side
        model = LanguageModel(tiny_gpt2(), tokenizer)
        scores.append((model.log_probabilities(PROMPTS, ["0", "1"]).tolist(), model(PROMPTS)))
    assert scores[0] == scores[1]


def test_one_pass_serves_texts_that_share_all_but_their_last_token(monkeypatch):
    rows = []
    model = LanguageModel(tiny_gpt2(), letter_tokenizer())
    forward = model._forward
    monkeypatch.setattr(model, "_forward", lambda batch, starts: rows.extend(batch) or forward(batch, starts))
    for texts, passes in (("one token", 1), ("the last token differs", 1), ("several tokens", 3)):
        rows.clear()
        model.log_probabilities(PROMPTS, TEXTS[texts])
        assert len(rows) == passes * len(PROMPTS)


def test_paths_that_begin_others_are_left_out():
    assert _longest([(), (1,), (1,), (1, 2), (3,)]) == [(1, 2), (3,)]
    assert _longest([(), ()]) == [()]


class _WithoutChoice(torch.nn.Module):
    """A model that gives logits everywhere."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config, self.device = model, model.config, model.device

    def forward(self, input_ids, attention_mask, use_cache):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)


def test_a_model_that_gives_logits_everywhere_scores_alike():
    model = tiny_gpt2()
    scores = [
        LanguageModel(m, letter_tokenizer()).log_probabilities(PROMPTS, ["10", "2"])
        for m in (model, _WithoutChoice(model))
    ]
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize("texts", [["1", "10"], ["0", "1", "10"], ["a", "a"], ["1", ""], ["~\u00e9", "~\u00e8"]])
def test_texts_that_cannot_be_compared_are_refused(texts):
    with pytest.raises(ValueError, match="no text's tokens may begin another's, got .* write them otherwise"):
        LanguageModel(tiny_gpt2(), letter_tokenizer()).log_probabilities(PROMPTS, texts)


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_the_most_likely_tokens_of_single_prompts(name):
    model, tokenizer = MODELS[name](), letter_tokenizer()
    expected = [greedy(model, tokenizer, prompt, 6) for prompt in PROMPTS]
    assert len(set(expected)) > 4
    for batch_size in (1, 4, 100):
        assert LanguageModel(model, tokenizer, batch_size=batch_size, max_new_tokens=6)(PROMPTS) == expected


def test_nothing_is_sampled_even_if_the_model_would():
    model = tiny_gpt2()
    expected = LanguageModel(model, letter_tokenizer())(PROMPTS[:3])
    model.generation_config.do_sample, model.generation_config.temperature = True, 5.0
    model.generation_config.top_k = 0
    assert LanguageModel(model, letter_tokenizer())(PROMPTS[:3]) == expected


def test_the_chat_template_is_applied_once_and_with_its_options():
    plain = LanguageModel(tiny_gpt2(), letter_tokenizer())
    chat = LanguageModel(tiny_gpt2(), letter_tokenizer(TEMPLATE))
    quiet = LanguageModel(tiny_gpt2(), letter_tokenizer(TEMPLATE + "{{ mood }}"), template_options={"mood": "!"})
    expected = plain.log_probabilities(["~ab|"], ["0", "1"])
    torch.testing.assert_close(chat.log_probabilities(["ab"], ["0", "1"]), expected)
    torch.testing.assert_close(
        quiet.log_probabilities(["ab"], ["0", "1"]), plain.log_probabilities(["~ab|!"], ["0", "1"])
    )
    assert chat(["ab"]) == plain(["~ab|"])
    assert (plain.prompt_tokens(["ab", ""][:1]), chat.prompt_tokens(["ab", ""])) == ([2], [4, 2])


def test_a_prompt_without_tokens_is_refused():
    with pytest.raises(ValueError, match="a prompt must have a token, got ''"):
        LanguageModel(tiny_gpt2(), letter_tokenizer())([""])


def test_prompts_that_leave_no_room_get_no_score_and_no_answer():
    model = LanguageModel(tiny_gpt2(positions=16), letter_tokenizer(), max_new_tokens=8)
    prompts = ["a" * 8, "a" * 9, "a" * 16, "a" * 17, "a"]
    scores = model.log_probabilities(prompts, ["0", "1"])
    assert scores.isnan().all(1).tolist() == [False, False, False, True, False]
    assert [answer is None for answer in model(prompts)] == [False, True, True, True, False]


def test_no_prompts_have_no_answers():
    model = LanguageModel(tiny_gpt2(), letter_tokenizer())
    assert model([]) == []
    assert model.log_probabilities([], ["0", "1"]).shape == (0, 2)


def test_a_folder_is_loaded_on_first_use_and_gives_the_same(tmp_path):
    later = LanguageModel(str(tmp_path / "model"), device_map="cpu", dtype="float32")
    tiny_gpt2().save_pretrained(tmp_path / "model")
    letter_tokenizer(TEMPLATE).save_pretrained(tmp_path / "model")
    expected = LanguageModel(tiny_gpt2(), letter_tokenizer(TEMPLATE)).log_probabilities(PROMPTS, ["0", "1"])
    torch.testing.assert_close(later.log_probabilities(PROMPTS, ["0", "1"]), expected)


def test_the_identity_is_that_of_the_name_and_settings_and_missing_for_loaded_models():
    names = [LanguageModel("a"), LanguageModel("b"), LanguageModel("a", revision="x"), LanguageModel("a", dtype="auto"),
             LanguageModel("a", template_options={"x": 1}), LanguageModel("a", max_new_tokens=1)]  # fmt: skip
    assert len({model.identity for model in names}) == len(names)
    assert LanguageModel("a", batch_size=2).identity == names[0].identity
    assert LanguageModel(tiny_gpt2(), letter_tokenizer()).identity is None


def test_what_is_no_language_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model must be the folder or the id on the hub of a causal language model"):
        LanguageModel(str(tmp_path))(["a"])
    with pytest.raises(TypeError, match="a loaded model with its tokenizer, as in .* got "):
        LanguageModel(tiny_gpt2())
    with pytest.raises(TypeError, match="a loaded model with its tokenizer, as in .* got "):
        LanguageModel("name", letter_tokenizer())
    with pytest.raises(ValueError, match="without remote code, got .* load it yourself"):
        LanguageModel("name", trust_remote_code=True)
    with pytest.raises(ValueError, match="options are for loading a name"):
        LanguageModel(tiny_gpt2(), letter_tokenizer(), dtype="auto")
    with pytest.raises(ValueError, match="batch_size must be .* got 0"):
        LanguageModel("name", batch_size=0)
    with pytest.raises(ValueError, match="max_new_tokens must be .* got 0"):
        LanguageModel("name", max_new_tokens=0)

"""Grades of pairs by a language model, against the definition by loops, and the scale and prompt that they use."""

from __future__ import annotations

import logging
import math

import pytest

from st_rankloss.judges import LanguageModel, LLMJudge
from st_rankloss.judges.prompts import FIRST, GRADES, ORDER, RELEVANCE, fill
from st_rankloss.judges.scale import read_scale
from tests.judges.models import MODELS, TEMPLATE, letter_tokenizer, log_probability, tiny_gpt2

PROMPT = "q {query} d {document} of {scale}:"
PAIRS = [("red", "a rose"), ("red", "sea"), ("what is {document}?", "brace } {query}"), ("", ""), ("blue", "x" * 90)]


def make_judge(model=None, batch_size=8, **options):
    return LLMJudge(
        LanguageModel(model or tiny_gpt2(), letter_tokenizer(), batch_size=batch_size), **{"prompt": PROMPT} | options
    )


def graded(model, query, document, scale, texts, listed, answer):
    """A grade by the definition: each text's probability among the texts, one pair at a time."""
    prompt = "q " + query + " d " + document + " of " + listed + ":"
    scores = [math.exp(log_probability(model, letter_tokenizer(), prompt, text)) for text in texts]
    if answer == "likeliest":
        return scale[scores.index(max(scores))]
    return sum(score / sum(scores) * grade for score, grade in zip(scores, scale, strict=True))


@pytest.mark.parametrize("answer", ["expected", "likeliest"])
@pytest.mark.parametrize(
    ("scale", "texts"),
    [((0, 1, 2, 3), None), ((0, 1), ("No", "Yes")), ((0.5, 2, 10), None), ((1, 2, 5), ("bad", "fair", "good"))],
)
@pytest.mark.parametrize("name", MODELS)
def test_grades_are_those_of_the_definition_in_any_batches(name, scale, texts, answer):
    model = MODELS[name]()
    written = texts or [f"{grade:g}" for grade in scale]
    expected = [graded(model, q, d, scale, written, ", ".join(written), answer) for q, d in PAIRS]
    assert answer == "likeliest" or len(set(expected)) > 1
    for batch_size in (1, 2, 8):
        judge = make_judge(model, batch_size, scale=scale, texts=texts, answer=answer)
        assert judge(PAIRS) == pytest.approx(expected, abs=1e-4)


def test_the_order_in_which_the_scale_is_given_does_not_matter():
    straight = make_judge(scale=(0, 1, 5), texts=("bad", "fair", "good"))
    shuffled = make_judge(scale=(5, 0, 1), texts=("good", "bad", "fair"))
    assert straight(PAIRS) == shuffled(PAIRS)


def test_probabilities_are_of_grades_lowest_first_and_sum_to_one():
    model = tiny_gpt2()
    rows = make_judge(model, scale=(3, 0)).probabilities(PAIRS[:1]).tolist()
    prompt = "q red d a rose of 0, 3:"
    odds = [math.exp(log_probability(model, letter_tokenizer(), prompt, text)) for text in "03"]
    assert rows[0] == pytest.approx([odds[0] / sum(odds), odds[1] / sum(odds)], abs=1e-5)


def test_pairs_that_are_too_long_stay_unjudged_and_are_counted(caplog):
    with caplog.at_level(logging.WARNING, "st_rankloss"):
        grades = make_judge(tiny_gpt2(positions=64))(PAIRS)
    assert [grade is None for grade in grades] == [False, False, False, False, True]
    assert grades[:4] == pytest.approx(make_judge(tiny_gpt2(positions=64))(PAIRS[:4]), abs=1e-5)
    assert "1 of 5 prompts are too long for the model" in caplog.text


def test_a_model_in_training_mode_is_put_into_evaluation_mode():
    model = tiny_gpt2().train()
    assert make_judge(model)(PAIRS) == make_judge(model)(PAIRS)
    assert not model.training


def test_prompt_tokens_are_counted_with_the_template():
    pairs = [("ab", "c")]
    judge = LLMJudge(LanguageModel(tiny_gpt2(), letter_tokenizer(TEMPLATE)), prompt="{query}{document}")
    assert judge.prompts(pairs) == ["abc"]
    assert judge.prompt_tokens(pairs) == [5]


def test_the_identity_changes_with_all_that_changes_a_grade():
    judges = [
        LLMJudge("a"),
        LLMJudge("b"),
        LLMJudge("a", prompt=PROMPT),
        LLMJudge("a", scale=(0, 1)),
        LLMJudge("a", scale=(0, 1), texts=("No", "Yes")),
        LLMJudge("a", answer="likeliest"),
        LLMJudge(LanguageModel("a", revision="1")),
    ]
    assert len({judge.identity for judge in judges}) == len(judges)
    assert LLMJudge("a", scale=(3, 2, 1, 0)).identity == judges[0].identity
    assert make_judge().identity is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "{query}"}, r"prompt must be a text that contains \{document\}, got '\{query\}'"),
        ({"prompt": None}, r"contains \{query\} and \{document\}, got None"),
        ({"answer": "best"}, "answer must be one of 'expected', 'likeliest', got 'best'"),
        ({"scale": (1,)}, r"scale must hold at least two different grades, got \(1,\)"),
        ({"scale": (1, 1.0)}, "scale must hold at least two different grades"),
        ({"scale": (0, -1)}, "scale must hold numbers of at least 0, got -1"),
        ({"scale": (0, math.nan)}, "scale must hold numbers of at least 0, got nan"),
        ({"scale": ("0", "1")}, "scale must hold numbers of at least 0, got '0'"),
        ({"scale": (True, 2)}, "scale must hold numbers of at least 0, got True"),
        ({"scale": (0, 1), "texts": ("a",)}, "texts must hold a different text for each of 2 grades, got"),
        ({"scale": (0, 1), "texts": ("a", "a")}, "texts must hold a different text"),
        ({"scale": (0, 1), "texts": ("a", "")}, "texts must hold a different text"),
        ({"scale": (0, 1), "texts": "ab"}, "texts must hold a different text"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_loaded(options, message):
    with pytest.raises(ValueError, match=message):
        LLMJudge("name", **options)


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="each of 'pairs' must be a text, got None .* for pair 1"):
        make_judge()([("red", "rose"), ("red", None)])
    with pytest.raises(ValueError, match="each pair must be a tuple .* got 'no' for pair 1"):
        make_judge()([("red", "rose"), "no"])


def test_a_template_is_filled_once():
    assert fill("{a} {b} {c}", a="{b}", b="{a}") == "{b} {a} {c}"


@pytest.mark.parametrize("prompt", [RELEVANCE, ORDER, FIRST, GRADES])
def test_the_prompts_have_the_places_they_need_and_no_others(prompt):
    names = {"query", "document", "documents", "scale", "count"}
    filled = fill(prompt, **dict.fromkeys(names, "*"))
    assert "{" not in filled
    assert filled.count("*") == prompt.count("{")


def test_a_scale_is_sorted_with_its_texts():
    assert read_scale((2, 0, 1), ("c", "a", "b")) == ((0.0, 1.0, 2.0), ("a", "b", "c"))
    assert read_scale((0.5, 10, 0)).texts == ("0", "0.5", "10")

"""Judges of several documents, against plain loops over windows, and what they do with bad answers."""

from __future__ import annotations

import logging
import random

import pytest

from st_rankloss.judges import FirstTokenOrder, LanguageModel, ListJudge, OrderJudge, WrittenOrder
from st_rankloss.judges.asking import REMINDER, ask_twice
from st_rankloss.judges.lists import judge_lists
from tests.judges.models import MODELS, letter_tokenizer, log_probability, tiny_gpt2

FEW = "{query}:{documents}"


def by_number(lists):
    """Order documents by the number that they are, highest first."""
    return [sorted(range(len(own)), key=lambda i: -float(own[i])) for _, own in lists]


def slid(numbers, window, step):
    """Sort one window after the other, from the last document to the first."""
    numbers, start = list(numbers), len(numbers) - window
    while True:
        first = max(0, start)
        numbers[first : first + window] = sorted(numbers[first : first + window], reverse=True)
        if start <= 0:
            return numbers
        start -= step


def test_windows_slide_from_the_last_document_to_the_first():
    draw = random.Random(0)
    for _ in range(300):
        window = draw.randint(2, 8)
        step = draw.randint(1, window - 1)
        lists = {f"q{i}": draw.sample(range(100), draw.randint(2, 30)) for i in range(3)}
        pairs = [(query, str(number)) for query, own in lists.items() for number in own]
        draw.shuffle(pairs)
        scores = dict(zip(pairs, OrderJudge(by_number, window=window, step=step)(pairs), strict=True))
        for query in lists:
            given = [int(document) for owner, document in pairs if owner == query]
            best_first = sorted(given, key=lambda number, query=query: -scores[query, str(number)])
            assert best_first == slid(given, window, step)
            places = sorted(scores[query, str(number)] for number in given)
            assert places == pytest.approx([i / (len(given) - 1) for i in range(len(given))])


def test_the_best_documents_reach_the_top_from_anywhere():
    numbers = list(range(50))
    random.Random(0).shuffle(numbers)
    scores = OrderJudge(by_number, window=10)([("q", str(number)) for number in numbers])
    assert sorted(numbers, key=lambda n: -scores[numbers.index(n)])[:5] == [49, 48, 47, 46, 45]


def test_queries_share_their_calls():
    calls = []
    judge = OrderJudge(lambda lists: calls.append(len(lists)) or by_number(lists), window=4)
    judge([(query, str(i)) for query, size in (("a", 8), ("b", 4), ("c", 1)) for i in range(size)])
    assert calls == [2, 1, 1]


def test_a_list_that_is_not_ordered_and_a_single_document_stay_unjudged():
    def order(lists):
        return [None if "9" in own else by_number([(query, own)])[0] for query, own in lists]

    pairs = [("a", "1"), ("a", "9"), ("a", "2"), ("b", "1"), ("b", "3"), ("c", "5")]
    assert OrderJudge(order, window=2)(pairs) == [None, None, None, 0, 1, None]
    assert OrderJudge(order)([]) == []


@pytest.mark.parametrize("order", [[0, 0], [0], [0, 1, 2], [1, 2], [0, None], "no"])
def test_an_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match="an order must name each place from 0 to 1 once, got"):
        OrderJudge(lambda lists: [order])([("a", "1"), ("a", "2")])


def test_equal_documents_and_queries_are_judged_once_and_alike():
    seen = []
    judge = OrderJudge(lambda lists: seen.extend(lists) or by_number(lists))
    assert judge([("a", "1"), ("a", "2"), ("a", "1")]) == [0, 1, 0]
    assert seen == [("a", ("1", "2"))]


def test_values_go_back_to_the_pairs_they_belong_to():
    draw = random.Random(0)
    pairs = [(draw.choice("ab"), draw.choice("xyz")) for _ in range(50)]
    assert judge_lists(pairs, lambda lists: [[query + d for d in own] for query, own in lists]) == [
        query + document for query, document in pairs
    ]


# Orders by a language model.


def test_a_written_order_is_asked_for_with_numbered_documents():
    asked = []
    order = WrittenOrder(lambda prompts: asked.extend(prompts) or ["[2] > [1]", "[1]"], FEW + "{count}")
    assert order([("red", ("sea", "rose")), ("blue", ("sky",))]) == [[1, 0], [0]]
    assert asked == ["red:[1] sea\n\n[2] rose2", "blue:[1] sky1"]


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_left(caplog):
    asked = []

    def answer(prompts):
        asked.append(len(prompts))
        return ["[2] > [1]" if "good" in p or ("late" in p and REMINDER in p) else None for p in prompts]

    lists = [(query, ("a", "b")) for query in ("good", "late", "never")]
    with caplog.at_level(logging.WARNING, "st_rankloss"):
        assert WrittenOrder(answer)(lists) == [[1, 0], [1, 0], None]
    assert asked == [3, 2]
    assert "1 of 3 answers could not be read in full, even when asked again" in caplog.text


def test_the_second_answer_adds_what_the_first_lacks_and_changes_nothing_else():
    answers = iter(["1?3", "99?"])
    values = ask_twice(lambda prompts: [next(answers)], ["p"], lambda i, t: [int(c) if c != "?" else None for c in t])
    assert values == [[1, 9, 3]]


@pytest.mark.parametrize("name", MODELS)
def test_the_first_identifiers_order_is_that_of_single_prompts(name):
    model, tokenizer = MODELS[name](), letter_tokenizer()
    lists = [("red", ("sea", "rose", "sky", "fire")), ("b", ("x", "y")), ("green", tuple("abcdefghij"))]
    order = FirstTokenOrder(LanguageModel(model, tokenizer, batch_size=2), FEW)
    orders = order(lists)
    for (query, own), got in zip(lists, orders, strict=True):
        documents = "\n\n".join(f"[{letter}] {d}" for letter, d in zip("ABCDEFGHIJ", own, strict=False))
        scores = [
            log_probability(model, tokenizer, f"{query}:{documents}", f"[{letter}")
            for letter in "ABCDEFGHIJ"[: len(own)]
        ]
        assert got == sorted(range(len(own)), key=lambda i: -scores[i])
    assert orders[2] != list(range(10))
    assert order([]) == []


def test_a_list_that_is_too_long_for_the_model_or_the_alphabet_is_not_ordered():
    order = FirstTokenOrder(LanguageModel(tiny_gpt2(positions=24), letter_tokenizer()), FEW)
    assert order([("q", ("a", "b")), ("q", ("a" * 30, "b"))])[1] is None
    with pytest.raises(ValueError, match="at most 26 documents, one per letter, got 27; lower the window"):
        order([("q", tuple(map(str, range(27))))])


def test_orders_by_a_language_model_make_a_judge():
    model = LanguageModel(tiny_gpt2(), letter_tokenizer())
    pairs = [("q", letter) for letter in "abcdefgh"]
    scores = OrderJudge(FirstTokenOrder(model, FEW), window=4)(pairs)
    assert sorted(scores) == pytest.approx([i / 7 for i in range(8)])
    assert OrderJudge(WrittenOrder(model, FEW), window=4)(pairs) == [None] * 8  # it babbles


# Grades of several documents.


def test_documents_are_graded_a_few_per_prompt(caplog):
    asked = []

    def answer(prompts):
        asked.append(prompts)
        return ["\n".join(f"[{i + 1}]: {line[4:]}" for i, line in enumerate(p.split(";")[:-1])) for p in prompts]

    judge = ListJudge(answer, "{query} {scale} {count}{documents}", scale=(0, 1, 2), window=2)
    with caplog.at_level(logging.WARNING, "st_rankloss"):
        grades = judge([("a", "2;"), ("b", "1;"), ("a", "0;"), ("a", "7;")])
    assert asked[0] == ["a 0, 1, 2 2[1] 2;\n\n[2] 0;", "a 0, 1, 2 1[1] 7;", "b 0, 1, 2 1[1] 1;"]
    assert len(asked) == 2, "what cannot be read is asked once more, and no more"
    assert all(prompt.endswith(REMINDER) for prompt in asked[1])
    assert len(grades) == 4


def test_grades_off_the_scale_leave_their_document_unjudged(caplog):
    judge = ListJudge(lambda prompts: ["[1]: 3\n[2]: 5"] * len(prompts))
    with caplog.at_level(logging.WARNING, "st_rankloss"):
        assert judge([("a", "x"), ("a", "y")]) == [3, None]
    assert "1 of 1 answers could not be read in full" in caplog.text
    assert judge([]) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OrderJudge(by_number, window=1), "window must be an integer of at least 2"),
        (lambda: OrderJudge(by_number, step=0), "step must be an integer of at least 1"),
        (lambda: OrderJudge(by_number, window=4, step=4), "step must be below window, 4, .* got 4"),
        (lambda: ListJudge(len, window=0), "window must be an integer of at least 1"),
        (lambda: ListJudge(len, "{query}"), r"contains \{documents\}"),
        (lambda: ListJudge(len, scale=(0,)), "scale must hold at least two"),
        (lambda: WrittenOrder(len, "{documents}"), r"contains \{query\}"),
        (lambda: FirstTokenOrder("name", "{documents}"), r"contains \{query\}"),
        (lambda: WrittenOrder(len)([("q", ("a", 1))]), "each of 'a list' must be a text, got 1 .* item 2"),
        (lambda: WrittenOrder(lambda p: [])([("q", ("a", "b"))]), "one answer per item, got 0 for 1 items"),
        (lambda: WrittenOrder(lambda p: [7])([("q", ("a", "b"))]), r"a text or None, got 7 \(int\)"),
        (lambda: OrderJudge(by_number)(["ab"]), "each pair must be a tuple of a query and a document, got 'ab' for"),
        (lambda: OrderJudge(lambda lists: "no")([("q", "a"), ("q", "b")]), "a list with one answer per item, got 'no'"),
    ],
)  # fmt: skip
def test_wrong_settings_and_inputs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

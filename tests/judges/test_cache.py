"""Answers on disk: found by content, kept through a kill, shared by processes; and what is still to pay."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from st_rankloss.judges import (
    Cached,
    Calibrated,
    Calibration,
    FirstTokenOrder,
    LanguageModel,
    ListJudge,
    LLMJudge,
    OrderJudge,
    WrittenOrder,
    estimate,
)
from tests.judges.models import TEMPLATE, letter_tokenizer, tiny_gpt2

PAIRS = [("red", "rose"), ("red", "sea"), ("blue", "sea"), ("red", "rose")]


class Counter:
    """A judge that remembers what it was asked."""

    def __init__(self, answer=lambda item: float(len(item[1]))):
        self.asked, self.calls, self.answer = [], 0, answer

    def __call__(self, items):
        self.asked += items
        self.calls += 1
        return [self.answer(item) for item in items]


def test_what_was_answered_is_never_asked_again_not_even_by_another_object(tmp_path):
    first, second = Counter(), Counter(answer=lambda item: pytest.fail("asked again"))
    answers = Cached(first, tmp_path / "a.sqlite", identity="length")(PAIRS)
    assert answers == [4, 3, 3, 4]
    assert first.asked == PAIRS[:3], "equal pairs are asked once"
    assert Cached(second, tmp_path / "a.sqlite", identity="length")(PAIRS[::-1]) == answers[::-1]
    assert second.calls == 0


def test_changed_content_is_asked(tmp_path):
    judge = Counter()
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1")
    cached(PAIRS)
    judge.asked.clear()
    cached([("red", "rose "), ("Red", "rose"), ("redrose", ""), ("rose", "red"), ("red", "rose")])
    assert judge.asked == [("red", "rose "), ("Red", "rose"), ("redrose", ""), ("rose", "red")]
    judge.asked.clear()
    Cached(judge, tmp_path / "a.sqlite", identity="2")(PAIRS[:1])
    assert judge.asked == PAIRS[:1]


def test_a_changed_prompt_scale_or_model_misses(tmp_path):
    for name in ("one", "two"):
        tiny_gpt2().save_pretrained(tmp_path / name)
        letter_tokenizer(TEMPLATE).save_pretrained(tmp_path / name)
    judges = [
        LLMJudge(str(tmp_path / "one"), "{query} {document}"),
        LLMJudge(str(tmp_path / "one"), "{query}, {document}"),
        LLMJudge(str(tmp_path / "one"), "{query} {document}", scale=(0, 1)),
        LLMJudge(str(tmp_path / "two"), "{query} {document}"),
    ]
    for judge in judges:
        cached = Cached(judge, tmp_path / "a.sqlite")
        assert len(cached.pending(PAIRS)) == 3
        assert cached(PAIRS) == pytest.approx(judge(PAIRS), abs=1e-5)
        assert cached.pending(PAIRS) == []


def test_none_is_not_kept_so_that_it_is_asked_again(tmp_path):
    judge = Counter(answer=lambda item: None if item[1] == "sea" else 1.0)
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1")
    assert cached(PAIRS) == [1, None, None, 1]
    assert cached.pending(PAIRS) == PAIRS[1:3]
    judge.answer = lambda item: float("nan")
    assert cached(PAIRS) == [1, None, None, 1]
    judge.answer = lambda item: 2
    assert cached(PAIRS) == [1, 2, 2, 1]


def test_answers_come_back_exactly_and_alike_from_judge_and_file(tmp_path):
    values = [1 / 3, 0.1 + 0.2, "text \u2713 \ud800", [2, 0, 1], (1, 0), np.float32(0.1), np.arange(2), 7]
    plain = [1 / 3, 0.1 + 0.2, "text \u2713 \ud800", [2, 0, 1], [1, 0], float(np.float32(0.1)), [0, 1], 7]
    cached = Cached(lambda items: [values[int(item)] for item in items], tmp_path / "a", identity="1", chunk=3)
    items = [str(i) for i in range(len(values))]
    assert cached(items) == plain == cached(items)


def test_many_items_are_asked_in_chunks(tmp_path):
    judge = Counter()
    cached = Cached(judge, tmp_path / "new" / "folder" / "a.sqlite", identity="1", chunk=100)
    pairs = [("q", "d" * i) for i in range(1_234)]
    assert cached(pairs) == list(range(1_234))
    assert judge.calls == 13
    assert cached(pairs) == list(range(1_234))
    assert judge.calls == 13
    assert cached([]) == []


def test_an_error_in_the_middle_keeps_the_chunks_before_it(tmp_path):
    judge = Counter(answer=lambda item: 1 / (len(item[1]) - 25))
    pairs = [("q", "d" * i) for i in range(40)]
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1", chunk=10)
    with pytest.raises(ZeroDivisionError):
        cached(pairs)
    assert cached.pending(pairs) == pairs[20:]


KILLED = """
import sys, time
from pathlib import Path
from st_rankloss.judges.cache import Cached

def judge(items):
    for item in items:
        time.sleep(0.005)
        Path(sys.argv[2]).open("a").write(item + chr(10))
    return [float(item) for item in items]

Cached(judge, sys.argv[1], identity="1", chunk=4)([str(i) for i in range(10_000)])
"""


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    file, log = tmp_path / "a.sqlite", tmp_path / "asked"
    items = [str(i) for i in range(10_000)]
    for wanted in (20, 60):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(file), str(log)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < wanted):
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -9, "the run ended before it was killed"
    asked = log.read_text().splitlines()
    judge = Counter(answer=float)
    cached = Cached(judge, file, identity="1")
    pending = cached.pending(items)
    kept = len(items) - len(pending)
    assert kept % 4 == 0, "a chunk is kept whole or not at all"
    assert pending == items[kept:]
    assert kept >= 48
    assert len(asked) - len(set(asked)) <= 4, "only a chunk was asked twice after the first kill"
    assert cached(items[: kept + 2]) == [float(item) for item in items[: kept + 2]]
    assert judge.asked == items[kept : kept + 2]


def test_threads_share_a_file(tmp_path):
    items, results = [str(i) for i in range(300)], []
    shared = Cached(lambda some: [float(item) for item in some], tmp_path / "a.sqlite", identity="1", chunk=7)
    threads = [threading.Thread(target=lambda: results.append(shared(items))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[float(item) for item in items]] * 4
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone() == (300,)


def test_the_answers_of_a_language_model_are_cached_by_prompt(tmp_path):
    counter = Counter(answer=lambda prompt: "[1]: 1\n[2]: 0")
    judge = ListJudge(Cached(counter, tmp_path / "a.sqlite", identity="1"))
    assert judge(PAIRS) == judge(PAIRS)
    assert len(counter.asked) == 3, "two prompts, and once more the one that names a document it does not have"


def test_orders_are_cached_window_by_window(tmp_path):
    def order(items):
        return [list(range(len(own)))[::-1] for _, own in items]

    counter = Counter(answer=lambda item: order([item])[0])
    judge = OrderJudge(Cached(counter, tmp_path / "a.sqlite", identity="reverse"), window=3, step=2)
    pairs = [("q", str(i)) for i in range(9)]
    assert judge(pairs) == OrderJudge(order, window=3, step=2)(pairs)
    asked = len(counter.asked)
    assert judge(pairs) == OrderJudge(order, window=3, step=2)(pairs)
    assert len(counter.asked) == asked == 4


@pytest.mark.parametrize(
    "judge", [OrderJudge(len), ListJudge(len), Calibrated(OrderJudge(len), Calibration((0, 1), (0, 3)))]
)
def test_judges_of_lists_are_not_cached_by_pair(judge, tmp_path):
    with pytest.raises(TypeError, match="function must not be a judge of lists, .* cache the function that it asks"):
        Cached(judge, tmp_path / "a.sqlite", identity="1")


def test_what_has_no_identity_or_is_no_file_of_answers_is_refused(tmp_path):
    for function in (len, LLMJudge(LanguageModel(tiny_gpt2(), letter_tokenizer())), WrittenOrder(len)):
        with pytest.raises(ValueError, match="identity must name the function and its version, .* got None"):
            Cached(function, tmp_path / "a.sqlite")
    assert Cached(FirstTokenOrder("name"), tmp_path / "a.sqlite").identity == FirstTokenOrder("name").identity
    (tmp_path / "text").write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(ValueError, match="path must be a file of cached answers, writable, or a new one, got .*text"):
        Cached(len, tmp_path / "text", identity="1")
    with pytest.raises(ValueError, match="path must be in a folder that can be made, got .*answers"):
        Cached(len, tmp_path / "text" / "answers", identity="1")
    with pytest.raises(ValueError, match="chunk must be .* got 0"):
        Cached(len, tmp_path / "a.sqlite", identity="1", chunk=0)


def test_what_has_no_content_as_text_is_refused(tmp_path):
    cached = Cached(lambda items: [object()] * len(items), tmp_path / "a.sqlite", identity="1")
    with pytest.raises(ValueError, match="an item must be text, numbers or lists of them to be cached, got .*object"):
        cached([("red", object())])
    with pytest.raises(ValueError, match="an answer must be text, numbers or lists of them"):
        cached([("red", "rose")])
    with pytest.raises(ValueError, match="one answer per item, got 1 for 2 items"):
        Cached(lambda items: [1.0], tmp_path / "a.sqlite", identity="1")([("a", "b"), ("a", "c")])


# What is still to pay.


def test_an_estimate_counts_what_is_not_cached_and_asks_nothing(tmp_path):
    judge = Counter()
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1")
    cached(PAIRS[:1])
    cost = estimate(cached, PAIRS)
    assert (cost.calls, cost.cached, cost.prompt_tokens, cost.seconds) == (2, 1, None, None)
    assert judge.asked == PAIRS[:1]
    assert str(cost) == "2 calls, 1 cached"
    assert (estimate(judge, PAIRS).calls, estimate(judge, PAIRS).cached) == (3, 0)


def test_an_estimate_counts_pairs_and_lists_of_any_kind_once(tmp_path):
    judge = Counter()
    assert estimate(judge, [list(pair) for pair in PAIRS]).calls == estimate(judge, PAIRS).calls
    assert estimate(Cached(judge, tmp_path / "a.sqlite", identity="1"), [["a", "b"], ("a", "b")]).calls == 1
    assert estimate(judge, [("red", ["rose", "sea"]), ("red", ["rose", "sea"]), ("red", ["rose"])]).calls == 2


@pytest.mark.parametrize("judge", [OrderJudge(len), Calibrated(OrderJudge(len), Calibration((0, 1), (0, 3)))])
def test_an_estimate_of_a_judge_of_lists_is_that_of_its_prompts(judge):
    with pytest.raises(TypeError, match="function must be what a judge of lists asks, and items its prompts, got"):
        estimate(judge, PAIRS)


def test_an_estimate_counts_the_tokens_of_the_prompts_to_ask(tmp_path):
    judge = LLMJudge(LanguageModel(tiny_gpt2(), letter_tokenizer(TEMPLATE)), "{query}{document}")
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1")
    assert estimate(cached, PAIRS).prompt_tokens == sum(len(q + d) + 2 for q, d in PAIRS[:3])
    cached(PAIRS[:1])
    cost = estimate(cached, PAIRS)
    assert cost.prompt_tokens == sum(len(q + d) + 2 for q, d in PAIRS[1:3])
    assert str(cost) == "2 calls, 1 cached, 17 prompt tokens"


class Clock:
    """A clock that a judge moves on by a second per token."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("st_rankloss.judges.cost.perf_counter", lambda: self.now)

    def __call__(self, items):
        self.now += sum(map(len, items))
        return [1.0] * len(items)


class Counting(Clock):
    """It also counts tokens."""

    def prompt_tokens(self, items):
        return [len(item) for item in items]


def test_seconds_grow_with_the_tokens_of_what_is_left(tmp_path, monkeypatch):
    texts = ["x" * (1 + i % 9) for i in range(9)]
    judge = Counting(monkeypatch)
    assert estimate(judge, texts, sample=3).seconds == pytest.approx(sum(map(len, texts)))
    cached = Cached(judge, tmp_path / "a.sqlite", identity="1")
    cost = estimate(cached, texts, sample=2)
    assert (cost.calls, cost.cached) == (6, 3), "the sample and the call before it are kept"
    assert cost.seconds == pytest.approx(cost.prompt_tokens)
    assert str(cost).endswith(f"about {cost.prompt_tokens} seconds")
    done = Cached(judge, tmp_path / "a.sqlite", identity="1")
    done(texts)
    assert (estimate(done, texts, sample=2).calls, estimate(done, texts, sample=2).seconds) == (0, 0)


def test_seconds_grow_with_calls_where_tokens_are_not_counted(monkeypatch):
    texts = [f"{i:05}" for i in range(40)]
    for sample in (1, 7, 100):
        assert estimate(Clock(monkeypatch), texts, sample=sample).seconds == pytest.approx(5 * 40)
    assert estimate(Clock(monkeypatch), texts[:1], sample=9).seconds == pytest.approx(5)
    with pytest.raises(ValueError, match="sample must be .* got -1"):
        estimate(Clock(monkeypatch), texts, sample=-1)


def test_a_single_text_is_no_list_of_letters(tmp_path):
    cached = Cached(lambda items: [1.0] * len(items), tmp_path / "a.sqlite", identity="one")
    with pytest.raises(TypeError, match="items must be a list of texts or of tuples of texts, got the text 'red'"):
        cached("red")
    assert cached(text for text in ("red", "blue")) == [1.0, 1.0]

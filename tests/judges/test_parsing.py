"""The readers of answers, against a slow definition on thousands of random strings."""

from __future__ import annotations

import random

import pytest

from st_rankloss.judges.parsing import read_grades, read_order

GRADES, TEXTS = (0.0, 1.0, 2.0, 3.0), ("0", "1", "2", "3")


def digits_at(text, start):
    stop = start
    while stop < len(text) and text[stop] in "0123456789":
        stop += 1
    return text[start:stop]


def identifier_at(text, start):
    """The number and end of an identifier that begins at a place, or None."""
    if text[start : start + 1] == "[" and (digits := digits_at(text, start + 1)):
        end = start + 1 + len(digits)
        if text[end : end + 1] == "]":
            return int(digits) if len(digits) < 100 else -1, end + 1
    return None


def order_by_definition(text, count):
    """Walk over the text: chains of identifiers joined by ">"; the only order among the complete ones."""
    complete, place = set(), 0
    while place < len(text):
        found = identifier_at(text, place)
        if not found:
            place += 1
            continue
        chain = [found[0]]
        place = found[1]
        while True:
            rest = text[place:].lstrip()
            if not rest.startswith(">"):
                break
            rest = rest[1:].lstrip()
            found = identifier_at(rest, 0)
            if not found:
                break
            chain.append(found[0])
            place = len(text) - len(rest) + found[1]
        if len(chain) == count and set(chain) == set(range(1, count + 1)):
            complete.add(tuple(chain))
    return [number - 1 for number in complete.pop()] if len(complete) == 1 else None


PIECES = [
    "[1]",
    "[2]",
    "[3]",
    "[4]",
    "[12]",
    "[0]",
    "[",
    "]",
    ">",
    " > ",
    " ",
    "\n",
    "1",
    "=",
    ",",
    "so:",
    "\u0663",
    "][",
]


def test_orders_of_thousands_of_random_strings_are_those_of_the_definition():
    draw, read = random.Random(0), 0
    for _ in range(20_000):
        count = draw.randint(1, 3)
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 9)))
        expected = order_by_definition(text, count)
        assert read_order(text, count) == expected, text
        read += expected is not None
    assert read > 1_000


def test_every_written_order_is_read_with_any_text_around_it():
    draw = random.Random(1)
    for _ in range(2_000):
        count = draw.randint(1, 30)
        order = draw.sample(range(count), count)
        chain = draw.choice([" > ", ">", "\n>\n"]).join(f"[{place + 1}]" for place in order)
        before, after = draw.choice(["", "Ranking: ", "[1], then "]), draw.choice(["", ".", " because [1] says so"])
        if count > 1:
            assert read_order(before + chain + after, count) == order


@pytest.mark.parametrize(
    "text",
    ["", "[1] > [2]", "[1] > [2] > [2]", "[1] > [2] > [4]", "[1] > [2] = [3]", "[1], [2], [3]", "1 > 2 > 3",
     "[1] > [2] > [3] > [1]", "[1] > [2] > [3]; no, [3] > [2] > [1]", "I cannot sort these.", "[1] < [2] < [3]",
     "[1] > [2] > [" + "9" * 5_000 + "]", "[A] > [B] > [C]"],
)  # fmt: skip
def test_what_is_not_one_order_of_all_documents_is_not_guessed(text):
    assert read_order(text, 3) is None


def test_an_order_that_is_repeated_is_one_order():
    assert read_order("<think>[2] > [1]</think> [2] > [1]", 2) == [1, 0]


def grades_by_definition(text, count):
    found = [[] for _ in range(count)]
    for line in text.splitlines():
        line = line.lstrip(" \t*-")
        identifier = identifier_at(line, 0)
        if identifier and not 1 <= identifier[0] <= count:
            return [None] * count
        if identifier:
            rest = line[identifier[1] :].lstrip(" \t*")
            rest = rest[1:] if rest[:1] in (":", "=", "-") and rest else rest
            rest = rest.strip(" \t.,;*")
            found[identifier[0] - 1].append(rest[:-2] if rest[-2:] == ".0" else rest)
    return [float(own[0]) if own and len(set(own)) == 1 and own[0] in TEXTS else None for own in found]


LINES = ["[1]: 2", "[1] 2", "[2] = 0", "[3] - 3.", "- [2]: 1", "**[1]**: 2", "[1]: 4", "[2]: high", "[2]: 1, [3]: 2",
         "[9]: 1", "[1]:", "[]: 1", "sure", "", "[2]:0", "[3]  :  1 ", "[1]: -2", "[2]: 2.0",
         "[" + "7" * 5_000 + "]: 1"]  # fmt: skip


def test_grades_of_thousands_of_random_answers_are_those_of_the_definition():
    draw, read = random.Random(2), 0
    for _ in range(5_000):
        count = draw.randint(1, 4)
        text = "\n".join(draw.choices(LINES, k=draw.randint(0, 6)))
        expected = grades_by_definition(text, count)
        assert read_grades(text, count, GRADES, TEXTS) == expected, text
        read += sum(grade is not None for grade in expected)
    assert read > 1_000


def test_random_characters_never_make_the_readers_fail():
    draw = random.Random(3)
    for _ in range(5_000):
        text = "".join(draw.choices("[]123456789>:=- \n\t\u0661\u00b2ab\x00", k=draw.randint(0, 30)))
        order = read_order(text, 3)
        assert order is None or sorted(order) == [0, 1, 2]
        grades = read_grades(text, 3, GRADES, TEXTS)
        assert len(grades) == 3
        assert set(grades) <= {None, *GRADES}


def test_texts_of_grades_may_have_several_words():
    texts = ("not relevant", "relevant")
    assert read_grades("[1]: relevant\n[2]: not relevant.", 2, (0, 1), texts) == [1, 0]


@pytest.mark.parametrize("answer", ["[1]: 3.0", "**[1]**: 3", "**[1]:** 3", "* **[1]** = **3.00**"])
def test_grades_are_read_with_marks_and_decimals(answer):
    assert read_grades(answer, 1, GRADES, TEXTS) == [3.0]


def test_a_decimal_text_of_the_scale_stays_itself():
    assert read_grades("[1]: 1.0\n[2]: 1\n[3]: 0.5", 3, (0.0, 1.0, 0.5), ("0", "1.0", "0.5")) == [1.0, None, 0.5]


def test_an_answer_about_a_document_that_does_not_exist_grades_none():
    assert read_grades("[0]: 3\n[1]: 2", 2, GRADES, TEXTS) == [None, None]
    assert read_grades("[1]: 3\n[2]: 2\n[3]: 0", 2, GRADES, TEXTS) == [None, None]


def test_a_document_graded_in_two_ways_is_unjudged_and_twice_alike_is_not():
    assert read_grades("[1]: 2\n[1]: 3\n[2]: 1\n[2]: 1", 2, GRADES, TEXTS) == [None, 1]


def test_a_negative_answer_is_no_grade():
    scale, texts = (0, 1, 2, 3), ("0", "1", "2", "3")
    assert read_grades("[1] -1\n[2]: 2\n[3] - 3\n[4]: -1", 4, scale, texts) == [None, 2, 3, None]

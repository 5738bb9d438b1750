"""Rows of every kind against every relevance: the right relevance, by plain loops, or an error of ours.

``RANKLOSS_CASES=20000 pytest tests/test_collator_fuzz.py`` tries more cases than the default.
"""

from __future__ import annotations

import math
import os
import random
import traceback
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

import st_rankloss
from st_rankloss import RankingCollator
from st_rankloss.collators import Reader
from st_rankloss.relevance import (
    Classes,
    Hierarchy,
    Lists,
    MultiLabel,
    Numeric,
    Pairs,
    Qrels,
    Vectors,
    choose_relevance,
)

CASES = int(os.environ.get("RANKLOSS_CASES", "4000"))
NAN = math.nan
PACKAGE = str(Path(st_rankloss.__file__).parent)
REFUSED = "refused"


class RefusalError(Exception):
    """What the oracle raises for labels that mean nothing."""


# What a label means, from the definitions.


def scalar(value):
    if isinstance(value, np.generic | torch.Tensor):
        return value.item()
    return float(value) if isinstance(value, Decimal) else value


def items(value):
    """The parts of a list-like label, or None."""
    if isinstance(value, np.ndarray | torch.Tensor) and value.ndim:
        return list(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return [scalar(x) for x in value] if isinstance(value, list | tuple) else None


def absent(value):
    value = scalar(value)
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def code(value):
    """A class code: a string, an integer, or None."""
    value = scalar(value)
    if absent(value) or (not isinstance(value, bool | str) and value == -1):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise RefusalError


def of_one_type(codes):
    if len({type(c) for c in codes if c is not None}) > 1:
        raise RefusalError
    return codes


def number(value):
    value = scalar(value)
    if absent(value):
        return NAN
    if not isinstance(value, bool | int | float) or math.isinf(value):
        raise RefusalError
    return float(value)


def classes(rows):
    codes = of_one_type([code(row) if items(row) is None else bad() for row in rows])
    return [[NAN if a is None or b is None else float(a == b) for b in codes] for a in codes]


def bad():
    raise RefusalError


def paths(rows):
    found = []
    for row in rows:
        levels = [] if items(row) is None and absent(row) else items(row)
        if levels is None:
            raise RefusalError
        codes = [code(level) if items(level) is None else bad() for level in levels]
        while codes and codes[-1] is None:
            codes.pop()
        if None in codes:
            raise RefusalError
        found.append(codes)
    of_one_type([c for path in found for c in path])

    def shared(a, b):
        if not a or not b:
            return NAN
        count = 0
        while count < min(len(a), len(b)) and a[count] == b[count]:
            count += 1
        return float(count)

    return [[shared(a, b) for b in found] for a in found]


def sets(rows):
    labelled = [items(row) for row in rows if not (items(row) is None and absent(row))]
    if None in labelled:
        raise RefusalError
    flat = [x for row in labelled for x in row]
    numeric = all(isinstance(x, int | float) for x in flat)
    if flat and numeric and len({len(row) for row in labelled}) == 1 and all(0 <= x <= 1 for x in flat):
        found = [None if items(row) is None else {i: float(x) for i, x in enumerate(items(row)) if x} for row in rows]
    else:
        found = []
        for row in rows:
            codes = None if items(row) is None else [code(x) if items(x) is None else bad() for x in items(row)]
            if codes is not None and (None in codes or any(isinstance(c, int) and c < 0 for c in codes)):
                raise RefusalError
            found.append(None if codes is None else dict.fromkeys(codes, 1.0))
        of_one_type([c for row in found for c in row or ()])

    def jaccard(a, b):
        if a is None or b is None:
            return NAN
        both = sum(a[x] * b[x] for x in a if x in b)
        return both / (sum(a.values()) + sum(b.values()) - both) if both > 0 else 0.0

    return [[jaccard(a, b) for b in found] for a in found]


def vectors(rows):
    """Numbers per row, all of one length; NaN throughout where one is missing; and that length, or None for scalars."""
    found, width = [], REFUSED
    for row in rows:
        values = items(row)
        if values is None and absent(row):
            found.append(None)
            continue
        values = [number(row)] if values is None else [number(x) if items(x) is None else bad() for x in values]
        own = None if items(row) is None else len(values)
        if width not in (REFUSED, own) or own == 0:
            raise RefusalError
        width = own
        found.append(None if any(math.isnan(x) for x in values) else values)
    return found, width


def numeric(rows):
    found, _ = vectors(rows)
    return [[NAN if a is None or b is None else max(0.0, 1 - math.dist(a, b) / 2) for b in found] for a in found]


def cosines(rows):
    found, width = vectors(rows)
    if width in (None, REFUSED):
        raise RefusalError

    def cosine(a, b):
        if a is None or b is None:
            return NAN
        norms = math.hypot(*a) * math.hypot(*b)
        return max(0.0, sum(x * y for x, y in zip(a, b, strict=True)) / norms) if norms else 0.0

    return [[cosine(a, b) for b in found] for a in found]


def grade(value):
    value = number(value)
    if value < 0:
        raise RefusalError
    return value


def scored_pairs(rows):
    scores = [grade(row) if items(row) is None else bad_unless_one(row) for row in rows]
    return [[s if i == j else 0.0 for j in range(len(rows))] for i, s in enumerate(scores)]


def bad_unless_one(row):
    if len(items(row)) != 1:
        raise RefusalError
    return grade(items(row)[0])


def graded_lists(rows, sizes):
    found = []
    for row, size in zip(rows, sizes, strict=True):
        values = [None] * size if items(row) is None and absent(row) else items(row)
        if values is None or len(values) != size:
            raise RefusalError
        found.append([grade(x) if items(x) is None else bad() for x in values])
    return [
        [grades[place] if owner == q else 0.0 for owner, size in enumerate(sizes) for place in range(size)]
        for q, grades in enumerate(found)
    ]


ORACLES = {
    "Classes": (Classes(), classes),
    "Hierarchy": (Hierarchy(), paths),
    "MultiLabel": (MultiLabel(), sets),
    "Numeric": (Numeric("triangle", 2.0), numeric),
    "Vectors": (Vectors(), cosines),
    "Pairs": (Pairs(), scored_pairs),
    "Lists": (Lists(), graded_lists),
}


# Labels as people have them.

SCALARS = {
    "integers": lambda r: r.randint(0, 3),
    "codes": lambda r: r.randint(-1, 3),
    "whole floats": lambda r: float(r.randint(0, 3)),
    "floats": lambda r: r.choice([0.25, 1.5, 2.0, 3.75]),
    "signed floats": lambda r: r.choice([-2.5, 1.0, 3.0]),
    "far numbers": lambda r: 1.7e9 + r.randint(0, 5) * 0.5,
    "words": lambda r: r.choice(["cat", "dog", "owl"]),
    "numerals": lambda r: r.choice(["0.0", "1", "5.0"]),
    "numpy integers": lambda r: np.int64(r.randint(0, 3)),
    "numpy floats": lambda r: np.float32(r.choice([0.5, 1.0, 2.0])),
    "numpy strings": lambda r: np.str_(r.choice(["a", "b"])),
    "tensors": lambda r: torch.tensor(r.randint(0, 3)),
    "decimals": lambda r: Decimal(r.choice(["0.5", "2", "3.25"])),
    "booleans": lambda r: r.random() < 0.5,
    "dicts": lambda r: {"grade": r.randint(0, 3)},
    "infinities": lambda r: r.choice([1.0, math.inf, -math.inf]),
}
ABSENT = [None, NAN, "", np.float64("nan")]


def a_row(r, make, length):
    form = r.choice([list, list, tuple])
    return form(make(r) for _ in range(length))


def column(r, rows, sizes):
    """Labels for so many rows: scalars or lists, of one kind or mixed, some missing."""
    makes = [r.choice(list(SCALARS.values()))]
    if r.random() < 0.15:
        makes.append(r.choice(list(SCALARS.values())))
    gaps = r.choice([0, 0, 0.3])
    width = r.choice([None, 1, 2, 3]) if r.random() < 0.6 else "sizes"
    lists = r.random() < 0.6
    hot = lists and r.random() < 0.2

    def one(place):
        if r.random() < gaps:
            return r.choice(ABSENT)
        make = (lambda r: r.randint(0, 1)) if hot else r.choice(makes)
        if not lists:
            return make(r)
        length = sizes[place] if width == "sizes" else r.randint(0, 3) if width is None else width
        row = a_row(r, lambda r: r.choice(ABSENT) if r.random() < gaps / 3 else make(r), length)
        if r.random() < 0.1 and row and all(type(x) in (int, float) for x in row):
            return np.array(row) if r.random() < 0.5 else torch.tensor(row)
        return row

    return [one(place) for place in range(rows)]


def case(seed):
    r = random.Random(seed)
    name = r.choice(list(ORACLES))
    rows = r.randint(2, 5)
    sizes = [r.randint(1, 3) for _ in range(rows)] if name == "Lists" else [1] * rows
    return name, column(r, rows, sizes), sizes


def preprocess(inputs, **options):
    return {"input_ids": torch.zeros(len(inputs), 1)}


def features(name, labels, sizes):
    if name == "Lists":
        return [{"query": "q", "documents": ["d"] * n, "labels": x} for n, x in zip(sizes, labels, strict=True)]
    if name == "Pairs":
        return [{"query": "q", "document": "d", "labels": x} for x in labels]
    return [{"text": "t", "labels": x} for x in labels]


def ours(error):
    """Whether an error was raised by the package itself, with words of its own."""
    return isinstance(error, ValueError | TypeError) and traceback.extract_tb(error.__traceback__)[
        -1
    ].filename.startswith(PACKAGE)


def outcome(collator, relevance, name, labels, sizes):
    """The relevance of a batch as a table, or REFUSED."""
    columns = {"Lists": [len(labels), sum(sizes)], "Pairs": [len(labels)] * 2}.get(name, [len(labels)])
    try:
        batch = collator(features(name, labels, sizes)).get("label")
        described = batch if isinstance(batch, dict) else {"label": batch}
        relevance = choose_relevance(described, columns) if relevance is None else relevance
        return relevance(*relevance.pair(described, columns)).tolist()
    except Exception as error:
        if not ours(error):
            raise
        return REFUSED


def same(found, expected):
    return found is not REFUSED and all(
        a == pytest.approx(b, rel=1e-5, abs=1e-6, nan_ok=True) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.filterwarnings("ignore:Some rows have no label")
@pytest.mark.parametrize("part", range(4))
def test_any_labels_mean_what_they_say_or_are_refused(part):
    """Told which relevance reads the labels, the collator reads all that means something, and refuses all else."""
    read = 0
    for seed in range(part, CASES, 4):
        name, labels, sizes = case(seed)
        relevance, oracle = ORACLES[name]
        try:
            expected = oracle(labels, sizes) if name == "Lists" else oracle(labels)
        except RefusalError:
            expected = REFUSED
        collator = RankingCollator(preprocess, readers={None: Reader(relevance)})
        found = outcome(collator, relevance, name, labels, sizes)
        if expected is REFUSED:
            assert found is REFUSED, (seed, name, labels, found)
        else:
            read += 1
            assert same(found, expected), (seed, name, labels, found, expected)
    assert read > CASES / 20


@pytest.mark.filterwarnings("ignore:Some rows have no label")
@pytest.mark.parametrize("part", range(4))
def test_labels_that_nobody_has_declared_are_never_misread(part):
    """With the plain trainer the collator guesses: right, or refused by the collator or the relevance."""
    read = 0
    for seed in range(part, CASES, 4):
        name, labels, sizes = case(seed)
        relevance, oracle = ORACLES[name]
        found = outcome(RankingCollator(preprocess), relevance, name, labels, sizes)
        if found is REFUSED:
            continue
        read += 1
        if name == "MultiLabel":  # as numbers, a row that lacks one lacks its label
            labels = [None if any(map(absent, items(row) or [])) else row for row in labels]
        try:
            expected = oracle(labels, sizes) if name == "Lists" else oracle(labels)
        except RefusalError:
            pytest.fail(f"{seed}: {name} must refuse {labels}, got {found}")
        assert same(found, expected), (seed, name, labels, found, expected)
    assert read > CASES / 40


# Inputs and ids.

INPUTS = {
    "texts": lambda r: r.choice(["a text", "", "another"]),
    "numpy strings": lambda r: np.str_("a text"),
    "parts of modalities": lambda r: {"text": "a text"},
    "chats": lambda r: [{"role": "user", "content": "a text"}],
    "nothing": lambda r: None,
    "numbers": lambda r: r.choice([1, 0.5, True]),
    "titles and texts": lambda r: {"title": "a title", "text": "a text"},
    "empty dicts": lambda r: {},
    "bytes": lambda r: b"a text",
    "pairs": lambda r: ["a text", "another"],
}
EMBEDDABLE = ("texts", "numpy strings", "parts of modalities", "chats")
IDS = {
    "strings": lambda r: r.choice(["d1", "d2", "d3"]),
    "integers": lambda r: r.randint(0, 3),
    "numpy integers": lambda r: np.int64(r.randint(0, 3)),
    "nothing": lambda r: r.choice([None, NAN, ""]),
    "floats": lambda r: r.choice([1.5, 2.0]),
    "dicts": lambda r: {"id": 1},
}
IDENTIFYING = ("strings", "integers", "numpy integers")


@pytest.mark.parametrize("part", range(2))
def test_inputs_are_embedded_as_they_are_or_refused_and_ids_find_their_judgements(part):
    read = 0
    for seed in range(part, CASES, 2):
        r = random.Random(seed)
        rows = r.randint(1, 4)
        kinds = [
            [r.choice(EMBEDDABLE if r.random() < 0.9 else list(INPUTS)) for _ in range(r.randint(0, 3) or 1)]
            for _ in range(rows)
        ]
        if r.random() < 0.05:
            kinds[r.randrange(rows)] = []
        id_kinds = [[r.choice(IDENTIFYING if r.random() < 0.95 else list(IDS)) for _ in row] for row in kinds]
        documents = [[INPUTS[kind](r) for kind in row] for row in kinds]
        ids = [[IDS[kind](r) for kind in row] for row in id_kinds]
        given = [{"query": "q", "query_id": i, "documents": documents[i], "document_ids": ids[i]} for i in range(rows)]
        grades = {
            str(i): {str(scalar(x)): 1 + (i + len(str(x))) % 3 for x in ids[i] if not absent(x)} for i in range(rows)
        }
        understood = all(kind in EMBEDDABLE for row in kinds for kind in row) and all(kinds)
        identified = all(kind in IDENTIFYING for row in id_kinds for kind in row)
        relevance = Qrels(grades) if any(grades.values()) and understood and identified else Qrels({"0": {"d1": 1}})
        seen = []

        def preprocess_and_keep(inputs, seen=seen, **options):
            seen.append(list(inputs))
            return preprocess(inputs)

        try:
            batch = RankingCollator(preprocess_and_keep, readers={None: Reader(relevance)})(given)["label"]
        except Exception as error:
            if not ours(error) or (understood and identified):
                raise
            continue
        assert understood, (seed, given)
        assert identified, (seed, given)
        read += 1
        flat = [x for row in documents for x in row]
        assert seen == [["q"] * rows, flat]
        found = relevance(*relevance.pair(batch, [rows, len(flat)])).tolist()
        names = [str(scalar(x)) for row in ids for x in row]
        assert found == [[float(grades[str(i)].get(name, 0)) for name in names] for i in range(rows)], (seed, given)
    assert read > CASES / 8

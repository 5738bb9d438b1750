"""Which captions are relevant to which images, against the definition in plain loops, and how rows are drawn."""

from __future__ import annotations

import random

import pytest
import torch
from datasets import Dataset
from PIL import Image

from st_rankloss.data import captions as captions_module
from st_rankloss.data.captions import grade_captions
from st_rankloss.data.contents import content_of, number_contents
from st_rankloss.data.drawing import draw_rows
from st_rankloss.relevance import MultiLabel


def together(rows, relevance=None):
    blocks = [*grade_captions(rows, relevance)]
    starts = [start for start, _ in blocks]
    assert starts == [sum(len(block) for _, block in blocks[:i]) for i in range(len(blocks))]
    return torch.cat([block for _, block in blocks])


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_captions_of_the_same_image_and_equal_ones_are_relevant(count, monkeypatch):
    monkeypatch.setattr(captions_module, "_ROWS", 64)
    draw = random.Random(count)
    for _ in range(20):
        images = [f"{draw.randrange(count)}.png" for _ in range(count)]
        texts = [f"text {draw.randrange(2 * count)}" for _ in range(count)]
        wanted = [[float(images[i] == images[j] or texts[i] == texts[j]) for j in range(count)] for i in range(count)]
        assert together(Dataset.from_dict({"image": images, "caption": texts})).tolist() == wanted


def test_labels_grade_captions_and_missing_ones_leave_them_ungraded():
    sets = [["a"], ["a", "b"], None, ["c"]]
    rows = Dataset.from_dict({"image": [*"wxyz"], "caption": [*"wxyz"], "label": sets})
    nan = float("nan")
    wanted = torch.tensor([[1, 0.5, nan, 0], [0.5, 1, nan, 0], [nan] * 4, [0, 0, nan, 1]])
    assert torch.equal(together(rows, MultiLabel("jaccard")).nan_to_num(-1), wanted.nan_to_num(-1))
    classes = rows.remove_columns("label").add_column("label", ["u", "v", "u", "v"])
    assert together(classes).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 2


def test_equal_images_and_texts_have_one_number():
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (2, 2), "blue")
    rows = Dataset.from_dict({"image": [red, blue, red.copy(), Image.new("RGB", (4, 1), "red")], "text": [*"abaa"]})
    assert number_contents(rows, "image").tolist() == [0, 1, 0, 2]
    assert number_contents(rows, "text").tolist() == [0, 1, 0, 0]
    assert [content_of({"bytes": None, "path": "https://x/1.png"}), content_of(None)] == ["https://x/1.png", None]


def test_rows_are_drawn_without_pattern():
    draw = random.Random(0)
    for _ in range(1_000):
        count, most = draw.randrange(50), draw.randrange(50)
        rows = draw_rows(count, most, draw.randrange(9))
        assert rows == sorted(set(rows))
        assert len(rows) == min(count, most)
        assert set(rows) <= set(range(count))
    odd = sum(row % 2 for row in draw_rows(40_000, 20_000))  # evenly spaced ones would all be even
    assert 9_700 < odd < 10_300

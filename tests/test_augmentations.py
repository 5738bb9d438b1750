"""Altered copies of texts and images: how much of them is left, and where the randomness comes from."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from st_rankloss.augmentations import (
    Blur,
    Compose,
    Crop,
    CropWords,
    DropWords,
    Flip,
    Identity,
    Jitter,
    ShuffleWords,
)

TEXT = " ".join(f"w{i}" for i in range(40))
TEXTS = [DropWords, CropWords, ShuffleWords]
IMAGES = [Crop, Flip, Jitter, Blur]


def picture(mode="RGB", size=(24, 16)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("make", [*TEXTS, *IMAGES, Identity])
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), True])
def test_strength_out_of_range(make, strength):
    with pytest.raises(ValueError, match=r"strength must be in \[0, 1\], got"):
        make(strength)


@pytest.mark.parametrize("make", TEXTS)
def test_no_strength_leaves_a_text_alone(make):
    assert make(0.0)("  a\ttext as it  is ") == "  a\ttext as it  is "
    assert make(0)(TEXT) == TEXT


@pytest.mark.parametrize("make", IMAGES)
def test_no_strength_leaves_an_image_alone(make):
    image = picture()
    assert make(0.0)(image) is image


@pytest.mark.parametrize("make", TEXTS)
@pytest.mark.parametrize("strength", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("text", ["", " ", "one", "one two", TEXT])
def test_a_text_never_becomes_empty_and_gains_no_word(make, strength, text):
    for _ in range(20):
        words = make(strength)(text).split()
        assert bool(words) == bool(text.split())
        assert set(words) <= set(text.split())
        assert len(words) <= len(text.split())


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_words_are_dropped_as_often_as_said_and_stay_in_order(strength):
    left = [DropWords(strength)(TEXT).split() for _ in range(400)]
    assert sum(map(len, left)) / (400 * 40) == pytest.approx(1 - strength, abs=0.02)
    for words in left:
        assert words == sorted(words, key=TEXT.split().index)
    assert len({" ".join(words) for words in left}) > 300


def test_at_full_strength_one_word_is_left_which_may_be_any():
    assert {DropWords(1.0)("a b c") for _ in range(60)} == {"a", "b", "c"}
    assert {CropWords(1.0)("a b c") for _ in range(60)} == {"a", "b", "c"}


@pytest.mark.parametrize(("strength", "length"), [(0.25, 30), (0.5, 20), (0.9, 4)])
def test_a_crop_is_a_span_that_may_begin_anywhere(strength, length):
    spans = {CropWords(strength)(TEXT) for _ in range(600)}
    assert spans == {" ".join(TEXT.split()[i : i + length]) for i in range(40 - length + 1)}


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_shuffling_keeps_the_words_and_the_places_of_the_others(strength):
    words = TEXT.split()
    for _ in range(50):
        shuffled = ShuffleWords(strength)(TEXT).split()
        assert sorted(shuffled) == sorted(words)
        assert 1 < sum(a != b for a, b in zip(words, shuffled, strict=True)) <= round(strength * 40)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("make", IMAGES)
def test_images_keep_size_and_mode_and_change(make, mode):
    if (make, mode) == (Jitter, "RGBA"):
        mode = "RGB"
    image = picture(mode)
    views = [make(0.7)(image) for _ in range(8)]
    assert {(view.size, view.mode) for view in views} == {(image.size, mode)}
    assert any(not same(view, image) for view in views)
    assert same(image, picture(mode))  # the original is as it was
    assert any(not same(views[0], view) for view in views)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("P", "RGB"), ("PA", "RGBA"), ("1", "L"), ("I;16", "L"), ("I", "L"), ("F", "L"), ("CMYK", "CMYK"), ("LA", "LA")],
)
@pytest.mark.parametrize("make", IMAGES)
def test_images_of_every_mode_have_views(make, mode, found):
    image = picture("RGBA" if mode == "PA" else "L" if mode in ("I;16", "I", "F", "1") else "RGB")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, dtype=np.uint16) * 256)
    elif mode == "PA":
        image = image.convert("P")
        image.info["transparency"] = 0
    else:
        image = image.convert(mode)
    for _ in range(4):
        view = make(0.7)(image)
        assert view.size == image.size
        assert view.mode == (found if make in (Jitter, Blur) else image.mode)
    if (make, mode) == (Blur, "I;16"):
        faint = np.asarray(make(1e-6)(image), dtype=float)  # 16 bits are scaled, not cut off at 255
        assert np.abs(faint - np.asarray(image, dtype=float) / 256).mean() < 3


def test_a_stronger_change_is_further_from_the_picture():
    smooth = picture(size=(8, 8)).resize((64, 64), Image.Resampling.BICUBIC)

    def distance(augmentation):
        views = [np.asarray(augmentation(smooth), dtype=float) for _ in range(30)]
        return np.mean([np.abs(view - np.asarray(smooth)).mean() for view in views])

    for make in IMAGES:
        assert distance(make(0.1)) < distance(make(0.5)) < distance(make(1.0))


def test_a_flip_mirrors_from_left_to_right():
    image = picture()
    assert same(Flip(1.0)(image), np.asarray(image)[:, ::-1])
    flipped = sum(not same(Flip(0.3)(image), image) for _ in range(400))
    assert flipped / 400 == pytest.approx(0.3, abs=0.07)


def test_the_global_seed_decides():
    for augmentation, value in ((DropWords(0.5), TEXT), (Crop(0.5), picture())):
        torch.manual_seed(4)
        first = [augmentation(value) for _ in range(3)]
        torch.manual_seed(4)
        assert all(same(a, augmentation(value)) for a in first)


def drop_words(texts):
    return [DropWords(0.5)(text) for text in texts]


def test_worker_processes_draw_differently_and_by_the_seed():
    def run():
        generator = torch.Generator().manual_seed(3)
        loader = DataLoader([TEXT] * 8, batch_size=1, num_workers=2, collate_fn=drop_words, generator=generator)
        return [text for batch in loader for text in batch]

    first = run()
    assert len(set(first)) == 8
    assert run() == first


def test_steps_follow_each_other_and_their_strengths_add_up():
    both = Compose(DropWords(0.5), CropWords(0.2), str.upper)
    assert both.strength == pytest.approx(1 - 0.5 * 0.8)
    text = both(TEXT)
    assert text == text.upper()
    assert 1 <= len(text.split()) <= 0.8 * 40
    assert Compose().strength == 0
    assert Compose(str.lower)("ABC") == "abc"  # a step without strength counts all the same
    assert repr(Compose(DropWords(0.5))) == "Compose(DropWords(strength=0.5))"
    assert pickle.loads(pickle.dumps(both)).strength == both.strength
    with pytest.raises(TypeError, match="every step must be a function of one value, got 3"):
        Compose(3)


@pytest.mark.parametrize("augmentation", [Crop(0.5), Flip(1.0), Jitter(0.5), Blur(0.5)], ids=repr)
def test_without_pillow_the_error_names_the_extra(augmentation, monkeypatch):
    image = picture()
    for module in ("Image", "ImageEnhance", "ImageFilter"):
        monkeypatch.setitem(sys.modules, f"PIL.{module}", None)
    with pytest.raises(
        ImportError, match=r"augmentations of images; install it with: pip install 'st_rankloss\[image\]'"
    ):
        augmentation(image)

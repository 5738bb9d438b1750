"""The protocol for wrong labels: which labels are flipped, and which runs are left."""

from __future__ import annotations

import pytest
import torch

from eval.denoising import GRID, flip, runs


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 1.0])
def test_the_share_of_labels_is_flipped_to_other_classes_alike(share):
    labels = torch.arange(4000) % 5
    flipped = flip(labels, share, seed=1)
    changed = flipped != labels
    assert changed.sum() == round(share * 4000)
    for distance in range(1, 5):
        assert ((flipped - labels) % 5 == distance).sum() == pytest.approx(share * 1000, abs=100)
    assert torch.equal(flip(labels, share, seed=1), flipped)


def test_the_best_trial_on_dev_is_run_on_test():
    done = []
    for run in runs([0.2], ["plain"], done, seeds=2):
        done.append({**run, "map": run["setting"]["rate"]})
    assert [run["split"] for run in done] == ["dev"] * len(GRID) + ["test"] * 2
    assert all(run["setting"] == max(GRID, key=lambda setting: setting["rate"]) for run in done[-2:])
    assert list(runs([0.2], ["plain"], done, seeds=2)) == []

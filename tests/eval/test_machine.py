"""Versions and memory."""

from __future__ import annotations

import numpy as np
import torch

from eval.machine import PeakMemory, versions


def test_versions_are_those_of_the_installed_packages():
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"st_rankloss", "sentence_transformers", "mteb", "python"} <= set(versions())


def test_peak_memory_is_that_since_it_was_asked():
    peak = PeakMemory()
    before = peak.megabytes()
    block = np.ones(30_000_000)
    assert peak.megabytes() > before + 150
    del block
    assert PeakMemory().megabytes() < before + 150

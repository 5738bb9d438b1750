"""Type checkers see the settings of an objective, of its function and of a loss as if they were written by hand."""

from __future__ import annotations

import re

import pytest

SNIPPET = """
import torch
from st_rankloss import ANDCGLoss, RankingLoss
from st_rankloss.functional import approx_ndcg
from st_rankloss.objectives import ApproxNDCG, SupCon

def use(objective: ApproxNDCG) -> None: ...

class Mine(ApproxNDCG): ...

use(ApproxNDCG("auto", k=3))
reveal_type(ApproxNDCG(0.1))
reveal_type(approx_ndcg(torch.rand(3), torch.rand(3), k=2))
ApproxNDCG(cutoff=3)  # wrong
ApproxNDCG(k="3")  # wrong
SupCon(method="grid")  # wrong
approx_ndcg(torch.rand(3), torch.rand(3), cutoff=2)  # wrong
RankingLoss(None, ApproxNDCG())  # wrong
ANDCGLoss(None, temprature=0.1)  # wrong
"""


def test_settings_are_typed(tmp_path):
    mypy = pytest.importorskip("mypy.api", reason="mypy is an extra of developers")
    (tmp_path / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    found, *_ = mypy.run([str(tmp_path / "snippet.py")])  # with the settings of `make check`, whose cache it shares
    wrong = {n for n, line in enumerate(SNIPPET.splitlines(), start=1) if line.endswith("# wrong")}
    assert {int(n) for n in re.findall(r"snippet\.py:(\d+): error", found)} == wrong, found
    assert re.findall(r'Revealed type is "(.*)"', found) == [
        "st_rankloss.objectives.ndcg.ApproxNDCG",
        "torch._tensor.Tensor",
    ]

"""Look at data before training: `inspect` says what it holds, what is wrong with it, and which settings fit it."""

from __future__ import annotations

from st_rankloss.inspection.facts import Column, Facts
from st_rankloss.inspection.findings import Finding
from st_rankloss.inspection.inspecting import Inspection, inspect
from st_rankloss.inspection.proposal import Proposal, propose_batch_size

__all__ = ["Column", "Facts", "Finding", "Inspection", "Proposal", "inspect", "propose_batch_size"]

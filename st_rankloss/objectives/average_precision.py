"""Objectives for average precision."""

from __future__ import annotations

from st_rankloss.functional.average_precision import hierarchical_ap, hierarchical_sup_ap, smooth_ap, sup_ap
from st_rankloss.objectives.base import Configured


class SmoothAP(Configured):
    """1 - `smooth_ap`."""

    @smooth_ap.settings
    def __init__(self) -> None: ...


class SupAP(Configured):
    """1 - `sup_ap`, an upper bound of 1 - AP. ROADMAP adds `ThresholdMargin`."""

    @sup_ap.settings
    def __init__(self) -> None: ...


class HierarchicalAP(Configured):
    """1 - `hierarchical_ap`."""

    @hierarchical_ap.settings
    def __init__(self) -> None: ...


class HierarchicalSupAP(Configured):
    """1 - `hierarchical_sup_ap`, an upper bound of 1 - H-AP, from HAPPIER."""

    @hierarchical_sup_ap.settings
    def __init__(self) -> None: ...

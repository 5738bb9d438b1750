"""Convert common dataset layouts into rows for ranking losses."""

from __future__ import annotations

from st_rankloss.data.grouping import group_into_lists
from st_rankloss.data.lists import lists, set_epoch
from st_rankloss.data.part import Part

__all__ = ["Part", "group_into_lists", "lists", "set_epoch"]

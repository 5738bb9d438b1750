"""From the rows that people have to the rows that a ranking loss learns from."""

from __future__ import annotations

from st_rankloss.data.grouping import group_into_lists

__all__ = ["group_into_lists"]

"""Convert common dataset layouts into rows for ranking losses."""

from __future__ import annotations

from st_rankloss.data.grouping import group_into_lists

__all__ = ["group_into_lists"]

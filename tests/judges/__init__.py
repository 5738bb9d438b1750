"""Tests of ``st_rankloss.judges``."""

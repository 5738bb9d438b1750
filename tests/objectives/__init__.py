"""Tests of ``st_rankloss.functional``."""

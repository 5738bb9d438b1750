"""Tests of ``st_rankloss.evaluation``."""

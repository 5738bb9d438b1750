"""Tests of `st_rankloss.weighting`."""

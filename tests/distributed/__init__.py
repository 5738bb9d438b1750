"""Tests of ``st_rankloss.losses``."""

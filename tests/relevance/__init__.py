"""Tests of ``st_rankloss.relevance``."""

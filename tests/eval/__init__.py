"""Tests of the comparison of losses; the files mirror ``eval``."""

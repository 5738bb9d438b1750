"""Tests of st_rankloss.data."""

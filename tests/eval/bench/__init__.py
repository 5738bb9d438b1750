"""Tests of `eval/bench`."""

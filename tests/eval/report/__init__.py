"""Tests of `eval/report`."""

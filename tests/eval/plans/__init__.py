"""Tests of `eval/plans`."""

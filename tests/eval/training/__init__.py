"""Tests of `eval/training`."""

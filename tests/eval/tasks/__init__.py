"""Tests of `eval/tasks`."""

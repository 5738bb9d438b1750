"""Tests of runs from data to a saved model."""

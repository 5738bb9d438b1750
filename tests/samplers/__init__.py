"""Tests of the batch samplers."""

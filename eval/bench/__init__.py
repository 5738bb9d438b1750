"""Benchmarks of the losses alone: time and memory."""

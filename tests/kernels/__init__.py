"""Tests of ``st_rankloss.kernels``."""

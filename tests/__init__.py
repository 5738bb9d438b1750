"""The tests; the folders mirror ``st_rankloss``."""

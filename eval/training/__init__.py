"""Training and scoring one encoder, and many of them in worker processes."""

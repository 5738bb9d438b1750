"""What is compared: losses and their settings, tuning, the comparison on test, and ablations."""

"""What is scored: data sets as records, and records as tasks of mteb."""

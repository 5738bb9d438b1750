"""The comparison of ranking losses on real tasks; ``eval/README.md`` has a map and the protocol."""

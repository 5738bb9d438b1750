"""Everything that needs a GPU, in eight minutes: ``make gpu``."""

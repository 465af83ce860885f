"""The nouns everything else speaks of: no I/O, no clock, no randomness."""

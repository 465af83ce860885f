"""Which arm a unit gets: always the same one for the same unit, in every process and version."""

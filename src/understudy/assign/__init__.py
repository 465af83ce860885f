"""Which arm, always the same for the same unit: a pure function of routing table, unit and time."""

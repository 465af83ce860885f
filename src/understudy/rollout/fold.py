"""From the journal of an upgrade to its present state."""

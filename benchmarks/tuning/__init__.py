"""How often a search for a prompt closes a gap, and how often its proof is wrong."""

"""Real servers for tests and demonstrations: recorded, simulated and faulty providers, and a chaos proxy."""

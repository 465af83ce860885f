"""Real servers for tests and demonstrations: recorded and simulated providers."""

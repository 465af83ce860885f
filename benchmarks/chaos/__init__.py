"""The fault bench: what happens when X dies. `python -m benchmarks.chaos.run` prints it; see `matrix`."""

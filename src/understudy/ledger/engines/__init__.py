"""The query engines: each reads the data files that the lake names, and runs the expressions of `expressions`."""

"""The data plane: takes a request in, has the chosen variant answer it, streams the answer out, keeps a record."""

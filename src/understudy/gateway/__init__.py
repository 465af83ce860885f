"""The path of a request: take it in, choose the arm, stream the answer out, write it down. Knows no control plane."""

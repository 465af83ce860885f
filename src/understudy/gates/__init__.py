"""From sums to a verdict: pass, fail or inconclusive, with the evidence. Pure, on `math` and `statistics` alone."""

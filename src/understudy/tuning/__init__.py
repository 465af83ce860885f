"""Stage 2 by machine: searches a prompt that closes a candidate's gap, and proves it on cases no search has seen."""

"""The log of exchanges and feedback: append, commit, query."""

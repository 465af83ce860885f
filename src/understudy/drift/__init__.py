"""Would users notice the swap? Paired answers to findings, pure."""

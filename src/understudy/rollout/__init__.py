"""Verdicts to the next state: the plan machine, its journal, and the reconciler that carries it out."""

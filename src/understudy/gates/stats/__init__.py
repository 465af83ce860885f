"""Estimators and tests on numbers alone: each module one family, its formula and where it comes from."""

"""Sanity checks: which attribution methods can be trusted."""

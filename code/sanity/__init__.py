"""Sanity checks: which attribution methods pass which tests."""

"""TCAV: which clinical concepts a network uses."""

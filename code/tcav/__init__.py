"""TCAV: which clinical concepts a network has learnt."""

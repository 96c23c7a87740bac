"""Glocal analysis: attribution averaged over a group of patients, by beat and by lead x segment."""

"""Simulated cohorts: hearts, causes and the truth about them."""

"""Recordings and data sets: files in, arrays and tables out."""

"""Figures of runs: drawn, written with their data, and checked like tables."""

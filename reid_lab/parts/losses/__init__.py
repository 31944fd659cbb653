"""Losses, each with its paper, code and oracle."""

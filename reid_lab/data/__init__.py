"""Data sets, protocols, samplers and loaders."""

"""Studies: arms of a base experiment times seeds, each arm tuned with an equal budget."""

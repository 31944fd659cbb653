"""What trained embeddings hold, and where they fail: linear probes, counterfactual pictures, slices of a test."""

"""The one training loop, its runtime, checkpoints and evaluation."""

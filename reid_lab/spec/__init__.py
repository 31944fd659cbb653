"""YAML to typed, frozen specs."""

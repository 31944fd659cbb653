"""Building blocks; modules take plain values."""

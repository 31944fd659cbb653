"""reid-lab: a laboratory for person re-identification research."""

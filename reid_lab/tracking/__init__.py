"""The journal and its MLflow mirror."""

"""The embedded benchmark: procedurally drawn pedestrians in six modalities."""

"""The registry of architectures: a name and the class that is built for it."""

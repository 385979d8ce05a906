"""Training that can be killed at any moment."""

"""A run's folder, its files and checkpoints, and where a figure was measured."""

"""Trained runs, their predictions and their scores."""

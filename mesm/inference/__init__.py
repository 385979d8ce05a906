"""Trained runs on recordings of one's own."""

"""Hand-crafted features of the two-phase baselines."""

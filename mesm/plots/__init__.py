"""Figures: the p-curve, the attention over faces and spectrograms, learning curves."""

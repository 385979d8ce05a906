"""Kernels, device functions and choices of blocks that the launchers of several ops share."""

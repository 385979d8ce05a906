"""What the launchers of several ops share: kernels, device functions and choices of blocks."""

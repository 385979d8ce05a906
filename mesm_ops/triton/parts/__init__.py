"""What several ops' Triton kernels share."""

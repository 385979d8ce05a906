"""Kernels that several ops are made of."""

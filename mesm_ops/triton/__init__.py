"""Triton kernels and their launchers, a file for each op, imported when the op first runs."""

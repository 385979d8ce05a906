"""Kernels in C++ and CUDA; build.py compiles the kernels."""

"""Kernels in C++ and CUDA; build.py is how they are compiled."""

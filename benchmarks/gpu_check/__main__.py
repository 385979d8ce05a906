"""`python -m benchmarks.gpu_check`."""

from benchmarks.gpu_check.check import main

if __name__ == "__main__":
    main()

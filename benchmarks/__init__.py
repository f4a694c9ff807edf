"""What mixing costs: `make benchmark` measures it, prints it, and writes docs/performance.md.

`python -m benchmarks --help` tells the rest. The scripts beside it measure one thing each; their headers say which.
"""

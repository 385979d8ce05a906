"""A discrete simulation of units of work on many machines, and the amounts behind the units.

`simulator.py` knows clusters and units alone; `shared.py` is how jobs share a resource;
`work.py` makes units after measured ones; `costs.py` reckons cores, GPUs, storage and network.
"""

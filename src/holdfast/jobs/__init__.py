"""Durable runs: queued in the catalogue, carried out by workers, each in a process of its own.

`engine.py` is the only module that knows the durable-execution library. A worker takes a run, takes
its places in limited resources, starts a mover (`mover/`) and writes what it reports; the mover
moves the bytes and never sees the catalogue.
"""

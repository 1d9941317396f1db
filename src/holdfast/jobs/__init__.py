"""Durable runs: queued in the catalogue, carried out by workers, each in a process of its own.

Whoever asks for runs enters at `queueing.Jobs`. A worker (`worker.Worker`) takes the run whose turn
it is, together with its places in limited resources (`catalog.resources`), and starts an attempt
(`attempt.py`): a mover (`mover/`) moves the bytes and never sees the catalogue; the attempt writes
what it reports. Nothing is imported here: movers start without a database's libraries.
"""

"""Vocabulary without I/O: units, ids, extents, clock, errors, progress, cancellation, failpoints.

Knows nothing of hypervisors, repositories or the command line. Everything else may import it.
"""

"""Holdfast: backup, restore, replication and failover of virtual machines."""

import os

__version__ = "0.1.0"

# numpy's linear algebra would start a thread a core when it is imported; nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

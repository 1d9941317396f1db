"""Holdfast: backup, restore, replication and failover of virtual machines."""

__version__ = "0.1.0"

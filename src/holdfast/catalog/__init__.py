"""What the control plane knows: platforms, VMs, repositories, restore points, runs, users, audit.

A cache where repositories are concerned: restore points are rebuilt from them at any time, and
removing a row here never removes a backup. `models/` are the tables, `migrations/` their history,
`database.py` opens them, one module of queries by noun. Only here and in `jobs` is SQLAlchemy
imported.
"""

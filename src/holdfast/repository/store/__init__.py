"""Where objects are durable. `store` is the contract, `local` a folder on a disk or NFS.

`tests/conformance/test_store.py` is mandatory for every implementation.
"""

"""The service under load: queued runs, clients of the live events, requests while backups run.
`python -m tests.load` measures; `tests/system/test_load.py` is a small one."""

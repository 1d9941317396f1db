"""The part of an NBD export that runs inside nbdkit.

`plugin.py` is the script that nbdkit's Python loads; `served_disk.py` answers its callbacks;
`handover.py` is the document that tells both which disk it is. Must not know who started nbdkit:
that is `holdfast.restore.export`.
"""

"""Files inside the disks of a restore point: list, stat, read, search, archive, save.

Owns everything between a `BlockSource` per disk and a file of the guest. Guest data is hostile: it
is interpreted only by the process in `reader/`, which runs in a sandbox without network, file
system or privileges, asks the parent for disk bytes, and whose answers are checked like any other
input. Must not know repositories, hypervisors or how results are shown.

Enter at `session.open_guest_files`; then `archive.write_archive` and `save.save_file`. This file
imports nothing, because the sandboxed process imports it too.
"""

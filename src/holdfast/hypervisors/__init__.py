"""Sources and targets: where virtual machines live.

`driver` is the contract; `libvirt/` and `images/` implement it, each the only importer of its
vendor's library. Drivers know nothing of repositories, points or catalogues: they are given and
give plain values.
"""

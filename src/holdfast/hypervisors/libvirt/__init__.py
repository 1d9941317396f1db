"""libvirt as a source and a target of virtual machines; the only importer of its library.

Enter at `driver.LibvirtDriver` (inventory and capture) and `define.define_restored_vm` (giving a VM
back). One capture is: `tokens` judge what the parent point's checkpoints are worth, `live` or
`offline` takes the instant, `obligations` says what must be undone, and `janitor` is the
process that undoes it when this one cannot.
"""

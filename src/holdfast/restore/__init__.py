"""From a repository back: virtual disks over a restore point, NBD export, guest files, whole VMs.

Works from a bare repository: knows no server and no catalogue.
"""

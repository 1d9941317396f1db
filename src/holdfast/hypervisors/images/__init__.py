"""Disk images on this host as one VM. Enter at `ImagesDriver`."""

from holdfast.hypervisors.images.driver import ImagesDriver

__all__ = ["ImagesDriver"]

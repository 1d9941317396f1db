"""How requests name a mount and a path in it; names inside guests are bytes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

MountId = Annotated[str, Path(max_length=100)]
GuestPath = Annotated[str, Query(max_length=65536, description="Absolute, begins with a volume.")]
PathB64 = Annotated[
    str | None, Query(max_length=90000, description="Instead of path: URL-safe base64 of its bytes")
]

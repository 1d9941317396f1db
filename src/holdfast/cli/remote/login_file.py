"""What `holdfast login` leaves for the commands after it: the service's address and a token, in a
file that only its owner may read."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from holdfast.core.errors import InvalidInput

_LONGEST = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    server: str
    token: str = field(repr=False)
    token_id: str
    ca_file: str
    """Further certificate authorities to trust; empty for the system's."""


def read_login(path: Path) -> Login | None:
    """None when nobody has logged in. Raises InvalidInput."""
    what = f"login {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(what=what, problem=f"cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(what=what, problem=f"is readable by others; run: chmod 600 {path}")
    try:
        values = cast("dict[str, Any]", json.loads(text))
        return Login(
            server=str(values["server"]),
            token=str(values["token"]),
            token_id=str(values["token_id"]),
            ca_file=str(values.get("ca_file", "")),
        )
    except (ValueError, KeyError, TypeError):
        # The text of the error would repeat the file.
        problem = "is damaged; log in again with `holdfast login`"
        raise InvalidInput(what=what, problem=problem) from None


def write_login(path: Path, login: Login) -> None:
    """Replaces what is there, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".login-")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(
                {
                    "server": login.server,
                    "token": login.token,
                    "token_id": login.token_id,
                    "ca_file": login.ca_file,
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_login(path: Path) -> None:
    path.unlink(missing_ok=True)

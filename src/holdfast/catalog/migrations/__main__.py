"""Writes the next step: see the package."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from alembic import command

from holdfast.catalog.database import Database
from holdfast.catalog.migrations import configuration, upgrade


def main() -> int:
    message = " ".join(sys.argv[1:]).strip()
    if not message:
        sys.stderr.write("say what changes\n")
        return 2
    versions = Path(__file__).parent / "versions"
    number = f"{len(list(versions.glob('[0-9]*.py'))) + 1:04}"
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(f"sqlite:///{folder}/holdfast.db")
        upgrade(database)
        with database.engine.connect() as connection:
            command.revision(
                configuration(connection), message=message, autogenerate=True, rev_id=number
            )
    slug = re.sub(r"\W+", "_", message).strip("_").lower()[:40]
    for path in versions.glob(f"{number}_*.py"):
        path.rename(versions / f"{number}_{slug}.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Enters the one archive of a borg repository into its manifest again and again, under other names
and times. For the system's Python, which has borg's modules:

    borg_archives.py REPOSITORY COUNT VMS
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from borg.helpers import Manifest  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from borg.logger import setup_logging  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from borg.repository import Repository  # pyright: ignore[reportMissingImports, reportUnknownVariableType]


def main(path: str, count: int, vms: int) -> None:
    setup_logging()
    with Repository(path, exclusive=True) as repository:
        manifest, _ = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
        (original,) = manifest.archives.list()
        for number in range(count):
            day, vm = divmod(number, vms)
            moment = datetime(2026, 1, 1) + timedelta(days=day, minutes=vm)  # noqa: DTZ001
            manifest.archives[f"web{vm:03}-{moment:%Y-%m-%dT%H:%M}"] = (original.id, moment)
        manifest.write()
        repository.commit(compact=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

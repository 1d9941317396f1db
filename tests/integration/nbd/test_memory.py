"""Memory of long transfers: what a request used must be free for the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from holdfast.nbd.qemu import QemuNbd

_WRITES_MIB = 256
_PROGRAM = """
import resource, sys
from pathlib import Path
from holdfast.nbd.client import NbdReader, NbdWriter
socket = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
writer = NbdWriter.connect(socket_path=socket, export="", target="t")
reader = NbdReader.connect(socket_path=socket, export="", source="s")
writer.write(0, bytes(4 << 20))
before = peak()
for offset in range(0, int(sys.argv[2]) << 20, 1 << 20):
    writer.write(offset, b"x" * (1 << 20))
    reader.pread_into(offset, memoryview(bytearray(1 << 20)))
print(peak() - before)
"""


@pytest.mark.qemu
def test_buffers_of_requests_are_reused(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(_WRITES_MIB * MIB)
    with QemuNbd.serve(image=image, format="raw", read_only=False, socket_dir=tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(server.socket_path), str(_WRITES_MIB)],
            check=True,
            stdout=subprocess.PIPE,
            timeout=120,
        )
    assert int(done.stdout) < 32 * 1024, "KiB of growth while moving 512 MiB"

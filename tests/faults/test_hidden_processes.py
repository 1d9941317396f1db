"""Where processes cannot see one another (`hidepid`, systemd's `ProtectProc=`), a holder that lives
must not be taken for dead: its lease keeps packs from compact."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast.core.clock import SystemClock
from holdfast.repository.format.envelope import Sealer
from holdfast.repository.leases import Lease
from holdfast.repository.store.local import LocalStore

_ASK = """
import sys
from pathlib import Path
from holdfast.repository.format.envelope import Sealer
from holdfast.repository.leases import read_lease
from holdfast.repository.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
(key,) = [info.key for info in store.list("leases/")]
record = read_lease(store, Sealer(bytes(16), bytes(32)), key)
assert not Path(f"/proc/{record.pid}/stat").exists(), "the process is not hidden"
print(record.process_is_dead())
"""
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(holdfast.__file__).parent.parent)}
"""The program under test, wherever it is: a copy of the tree may be."""
_HIDING = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
_LESS = ["setpriv", "--bounding-set=-sys_ptrace", "--regid=65534", "--clear-groups"]
"""Root who is shown other processes by neither capability nor group."""


def _looks_dead(folder: Path) -> str:
    asking = [sys.executable, "-c", _ASK, str(folder)]
    command = ["unshare", "--mount", "sh", "-c", _HIDING, "sh", *_LESS, *asking]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=_ENVIRONMENT)
    return found.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root's rights")
def test_a_hidden_process_that_lives_is_not_dead(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with Lease(store, Sealer(bytes(16), bytes(32)), SystemClock(), "vm-test", "guest").acquire():
        assert _looks_dead(tmp_path) == "False"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root's rights")
def test_one_that_ended_is_dead_all_the_same(tmp_path: Path) -> None:
    hold = (
        "import sys\nfrom pathlib import Path\nfrom holdfast.core.clock import SystemClock\n"
        "from holdfast.repository.format.envelope import Sealer\n"
        "from holdfast.repository.leases import Lease\n"
        "from holdfast.repository.store.local import LocalStore\n"
        "import os\nstore = LocalStore(Path(sys.argv[1]))\n"
        "Lease(store, Sealer(bytes(16), bytes(32)), SystemClock(), 'vm-test', 'guest').acquire()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", hold, str(tmp_path)], check=True, env=_ENVIRONMENT)
    assert _looks_dead(tmp_path) == "True"

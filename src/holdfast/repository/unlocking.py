"""Finding the master key in a thread of its own: to derive a key from a passphrase takes a tenth of
a second, in which the interpreter is free for something else. Enter at `Unlocking`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from holdfast.repository.access import unlock
from holdfast.repository.format.config import RepositoryConfig, check_config
from holdfast.repository.format.keys import Credential
from holdfast.repository.presence import read_config
from holdfast.repository.store.store import ObjectStore


class Unlocking:
    """Begins when it is made."""

    def __init__(
        self,
        store: ObjectStore,
        credential: Credential,
        header: tuple[RepositoryConfig, bytes] | None = None,
    ) -> None:
        """`header` is that of `read_config` for who has just read it. Raises NotARepository,
        RepositoryTooNew, ObjectDamaged."""
        self.store = store
        self.config, self._stored = header or read_config(store)
        pool = ThreadPoolExecutor(1, thread_name_prefix="unlocking")
        self._master = pool.submit(unlock, store, self.config, credential)
        pool.shutdown(wait=False)

    def master(self) -> bytes:
        """The master key, once it is there and fits the configuration. Raises WrongPassphrase,
        ObjectDamaged, RepositoryIncomplete."""
        master = self._master.result()
        check_config(self._stored, master)
        return master

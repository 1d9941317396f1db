"""Finding the master key in a thread of its own: to derive a key from a passphrase takes a tenth of
a second, in which the interpreter is free for something else. Enter at `Unlocking`.
"""

from __future__ import annotations

from threading import Thread

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
        self._credential = credential
        self._master: bytes | BaseException = b""
        self._thread = Thread(target=self._unlock, name="unlocking")
        self._thread.start()

    def master(self) -> bytes:
        """The master key, once it is there and fits the configuration. Raises WrongPassphrase,
        ObjectDamaged, RepositoryIncomplete."""
        self._thread.join()
        if isinstance(self._master, BaseException):
            raise self._master
        check_config(self._stored, self._master)
        return self._master

    def _unlock(self) -> None:
        try:
            self._master = unlock(self.store, self.config, self._credential)
        except BaseException as error:  # noqa: BLE001 - raised where the key is asked for
            self._master = error

"""Opens the catalogue: SQLite by default, PostgreSQL by URL. The same models and queries on both.

Enter at `Database.open`. Reading is `with database.reading() as session`, writing is
`with database.writing() as session`: committed at the end, rolled back on any error. On SQLite a
writing transaction takes the write lock at its beginning, so that it never fails half-way with
"database is locked"; keep it short and never wait for anything else inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from holdfast.core.errors import HoldfastError, InvalidInput, Retry

_BUSY_TIMEOUT_MS = 30_000
_POOL = 10


@dataclass(kw_only=True, eq=False)
class DatabaseUnavailable(HoldfastError):
    code = "database_unavailable"
    retry = Retry.LATER
    template = "the database cannot be reached: {problem}"
    hint = "Check that it runs and that HOLDFAST_DATABASE_URL names it; nothing was changed"
    problem: str


class Database:
    """An opened catalogue. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)

    @classmethod
    def open(cls, url: str) -> Database:
        """`sqlite:////var/lib/holdfast/holdfast.db` or `postgresql://user@host/name`.

        Connects with the first use. Raises InvalidInput for another kind of URL.
        """
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            engine = _open_sqlite(url, Path(parsed.database or ""))
        elif kind == "postgresql":
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=_POOL,
                max_overflow=_POOL,
                pool_pre_ping=True,
            )
        else:
            raise InvalidInput(what="HOLDFAST_DATABASE_URL", problem="is not sqlite or postgresql")
        return cls(engine)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Generator[Session]:
        """One consistent look. Nothing is kept of what is changed in it."""
        with self._sessions() as session, _refused_values():
            yield session  # closed without a commit; what was read stays usable

    @contextmanager
    def writing(self) -> Generator[Session]:
        """All of it or nothing. Raises DatabaseUnavailable when it cannot be reached."""
        with self._sessions() as session, _refused_values():
            if self.is_sqlite:
                _begin_immediate(session)
            yield session
            session.commit()

    def close(self) -> None:
        self.engine.dispose()


def make_state_folder(path: Path) -> None:
    """QEMU's user passes through it to the scratch folder; what is in it is closed by itself."""
    if not path.exists():
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        path.chmod(0o711)


def serialise(session: Session, what: str) -> None:
    """Until this writing transaction ends, no other passes here with the same `what`. On SQLite
    the transaction is that already."""
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


@contextmanager
def _refused_values() -> Generator[None]:
    """Values that a client sent and no column can hold, and a database that is away."""
    try:
        yield
    except (DataError, OverflowError, UnicodeEncodeError) as error:
        problem = "has characters or numbers that cannot be stored"
        raise InvalidInput(what="a value", problem=problem) from error
    except OperationalError as error:
        if error.connection_invalidated or "connect" in str(error.orig).lower():
            raise DatabaseUnavailable(problem="the connection failed") from error
        raise


def _begin_immediate(session: Session) -> None:
    try:
        session.execute(text("BEGIN IMMEDIATE"))
    except OperationalError as error:
        raise DatabaseUnavailable(problem="another process holds it for writing") from error


def _open_sqlite(url: str, path: Path) -> Engine:
    if not path.is_absolute():
        problem = "needs an absolute path: sqlite:////var/lib/holdfast/holdfast.db"
        raise InvalidInput(what="HOLDFAST_DATABASE_URL", problem=problem)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        del record
        # Python's driver must not begin transactions by itself: `writing` says when.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine

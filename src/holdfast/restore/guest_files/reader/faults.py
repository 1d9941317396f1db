"""What can go wrong while guest data is interpreted, as the parent will hear of it. Must not know
how it is transported. Enter at `ReaderFault`."""

from __future__ import annotations

import sys


class ReaderFault(Exception):
    """Ends the request; `code` is what the parent maps to an error of its own."""

    code = "damaged"


class Damaged(ReaderFault):
    """The structures of the file system contradict themselves."""


class Unsupported(ReaderFault):
    """Valid, as far as can be seen, but nothing here can read it."""

    code = "unsupported"


class NotFound(ReaderFault):
    code = "not_found"


class NotADirectory(ReaderFault):
    code = "not_a_directory"


class NotAFile(ReaderFault):
    code = "not_a_file"


class FetchFailed(BaseException):
    """The parent could not give disk bytes; it knows why. Not a fault of the guest's data, so it
    passes every handler that turns parse errors into notes, also those inside dissect."""


def parse_errors() -> tuple[type[Exception], ...]:
    """For `except`: whatever a parser raises on damaged structures, which is every Exception that
    dissect, struct, zlib and our own code know. Exhaustion is left out: after a MemoryError or a
    RecursionError this process is not used any more."""
    return () if isinstance(sys.exc_info()[1], (MemoryError, RecursionError)) else (Exception,)


def describe(error: BaseException) -> str:
    """One short printable line about an error; it may hold guest text."""
    text = str(error) or type(error).__name__
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable[:200]

"""Answers of a reader that is under the guest's control are refused, never believed."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.restore.guest_files.errors import GuestReaderFailed
from holdfast.restore.guest_files.protocol import Kind
from holdfast.restore.guest_files.session import GuestFiles

GOOD = ["name", "file", 1, 0o644, 0, 0, 0, None, None]


class LyingProcess:
    """Stands where the reader process stands, and says what it is told to say."""

    generation = 1

    def __init__(self, document: dict[str, Any], data: bytes = b"") -> None:
        self._document = document
        self._data = data
        self.closed = 0

    def opened(self) -> dict[str, Any]:
        return self._document

    def request(self, operation: str, path: bytes, fields: dict[str, Any]) -> Any:
        del path, fields
        if operation == "read":
            return Kind.DATA, {}, self._data
        return Kind.RESULT, self._document, b""

    def close(self) -> None:
        self.closed += 1


def _entry(position: int, value: object) -> dict[str, Any]:
    changed: list[object] = list(GOOD)
    changed[position] = value
    return {"entries": [changed], "total": 1, "problems": [], "entry": changed}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"entries": {}, "total": 1, "problems": []},
        {"entries": [None], "total": 1, "problems": []},
        {"entries": [GOOD[:8]], "total": 1, "problems": []},
        {"entries": [GOOD], "total": -1, "problems": []},
        {"entries": [GOOD], "total": True, "problems": []},
        {"entries": [GOOD], "total": 1, "problems": [1]},
        {"entries": [GOOD] * 3000, "total": 3000, "problems": []},
        _entry(0, 5),
        _entry(0, "€"),
        _entry(0, "n" * 5000),
        _entry(1, "executable"),
        _entry(1, []),
        _entry(2, -1),
        _entry(2, 1.5),
        _entry(2, 1 << 70),
        _entry(3, 0o17777),
        _entry(4, 1 << 40),
        _entry(6, "now"),
        _entry(7, 7),
        _entry(8, {}),
    ],
)
def test_an_answer_that_breaks_a_rule_ends_the_reader(document: dict[str, Any]) -> None:
    process = LyingProcess(document)
    with pytest.raises(GuestReaderFailed):
        GuestFiles(process).list(b"/vda")  # type: ignore[arg-type]
    assert process.closed == 1


@pytest.mark.parametrize("identity", ["", ".", "..", "a/b", "é", "a\0"])
def test_a_volume_whose_id_is_no_name_is_refused(identity: str) -> None:
    volume = {"id": identity, "size": 1, "filesystem": "", "label": "", "uuid": ""}
    document = {"volumes": [{**volume, "problem": "", "notes": []}]}
    with pytest.raises(GuestReaderFailed):
        GuestFiles(LyingProcess(document)).volumes()  # type: ignore[arg-type]


def test_contents_of_a_wrong_length_are_refused() -> None:
    process = LyingProcess(_entry(2, 10), data=b"too short")
    with pytest.raises(GuestReaderFailed):
        GuestFiles(process).open(b"/vda/name").read(0, 10)  # type: ignore[arg-type]


def test_a_listing_that_never_ends_is_ended() -> None:
    process = LyingProcess({"entries": [], "total": 10**9, "problems": []})
    assert GuestFiles(process).list(b"/vda").total == 10**9  # type: ignore[arg-type]

"""Paths, names and how they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.restore.guest_files.archive import zip_name
from holdfast.restore.guest_files.entries import (
    display_name,
    is_safe_name,
    join_path,
    split_path,
)
from holdfast.restore.guest_files.errors import GuestPathRefused
from holdfast.restore.guest_files.save import local_name

NAMES = st.binary(max_size=40)


@given(NAMES)
def test_shown_names_are_printable_and_tell_names_apart(name: bytes) -> None:
    shown = display_name(name)
    assert shown.isprintable()
    # Unambiguous: what is shown can be turned back.
    assert shown.encode().decode("unicode_escape") is not None


@given(NAMES, NAMES)
def test_different_names_are_shown_differently(one: bytes, other: bytes) -> None:
    assert (display_name(one) == display_name(other)) == (one == other)


@given(st.lists(NAMES.filter(is_safe_name), max_size=5))
def test_paths_split_into_what_they_were_joined_from(names: list[bytes]) -> None:
    assert split_path(join_path(names)) == tuple(names)


@pytest.mark.parametrize("path", [b"", b"vda1", b"/a/../b", b"/./a", b"/a\0b", b"/.."])
def test_paths_that_could_lead_elsewhere_are_refused(path: bytes) -> None:
    with pytest.raises(GuestPathRefused):
        split_path(path)


@given(NAMES)
def test_local_names_are_harmless(name: bytes) -> None:
    for text in (local_name(name), zip_name(name)):
        assert text not in ("", ".", "..")
        assert not set(text) & set('\\/:\0\n"'[:4])
        assert text.isprintable()
        assert text[-1] not in ". "
        text.encode("utf-8")
    assert local_name(name)[0] not in ".-"

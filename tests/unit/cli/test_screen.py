"""A large document is written in another way than a small one: what is printed is the same."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from holdfast.cli.documents import PointList
from holdfast.cli.screen import Screen
from holdfast.repository.format.listing import ListedPoint, listed
from tests.support.format_samples import MANIFESTS

_TEXTS = st.one_of(st.text(max_size=9), st.sampled_from(["\x7f", "\x1b[2J", "\ud800", 'a "b" \\/']))


def _printed(document: PointList | dict[str, Any]) -> str:
    written = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch, io.TextIOWrapper(written, "utf-8") as stdout:
        patch.setattr(sys, "stdout", stdout)
        Screen(as_json=True).result(document, "")
        stdout.flush()
        return written.getvalue().decode()


@given(
    points=st.lists(MANIFESTS.map(listed), max_size=3),
    total=st.integers(0, 2**70),
    damaged=st.lists(_TEXTS, max_size=2),
)
def test_a_list_is_printed_as_any_document(
    points: list[ListedPoint], total: int, damaged: list[str]
) -> None:
    document = PointList(repository_id="id", points=points, total=total, damaged=damaged)
    printed = _printed(document)
    assert printed == _printed(to_builtins(document))
    assert printed.isascii()
    assert json.loads(printed)["total"] == total


def test_a_list_of_plain_names_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "dumps", None)
    document = PointList(repository_id="id", points=[], total=0, damaged=["x"])
    expected = '{"repository_id": "id", "points": [], "total": 0, "damaged": ["x"]}\n'
    assert _printed(document) == expected

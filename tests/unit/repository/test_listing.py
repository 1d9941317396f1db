"""What a list shows of a point is read in another way than the point is: both must see the same in
every manifest, also in one that no Holdfast wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format import listing
from holdfast.repository.format.listing import ListedPoint, decode_listed, listed
from holdfast.repository.format.point import Manifest, decode_manifest, encode_manifest
from tests.support.format_samples import MANIFESTS, mutations, sample_manifest

_VALID = encode_manifest(sample_manifest())
_Change = Callable[[dict[str, Any]], object]


def _slowly(plain: bytes) -> ListedPoint | None:
    """By way of the whole manifest; None: damage."""
    try:
        return listed(decode_manifest(plain, key="k"))
    except ObjectDamaged:
        return None


def _shown(plain: bytes) -> ListedPoint | None:
    try:
        return decode_listed(plain, key="k")
    except ObjectDamaged:
        return None


def _same(plain: bytes) -> bool:
    # As text: NaN, which `parent_id` may be, is not equal to itself.
    return repr(_shown(plain)) == repr(_slowly(plain))


@given(MANIFESTS)
def test_a_manifest_shows_the_same(manifest: Manifest) -> None:
    plain = encode_manifest(manifest)
    assert decode_listed(plain, key="k") == listed(manifest)


def test_what_we_write_is_read_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = listed(sample_manifest())

    def never(plain: bytes, *, key: str) -> Manifest:
        raise AssertionError(plain, key)

    monkeypatch.setattr(listing, "decode_manifest", never)
    assert decode_listed(_VALID, key="k") == expected


@given(st.data())
def test_garbled_manifests_show_the_same(data: st.DataObject) -> None:
    assert _same(data.draw(mutations(_VALID)))


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        [
            *("00" * 32, "AB" * 32, "0x" * 32, " " * 64, "00" * 31 + " 00", "00" * 31),
            *("2026-02-30T00:00:00.000Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000+01:00"),
            *("2026-01-01T24:00:00.000Z", "0000-01-01T00:00:00.000Z", "20260101T000000.000000Z"),
            *("2026-01-01 00:00:00.000Z", "2026-01-01T00:00:00.000z", "2026-01-01T00:00:60.000Z"),
            *("0190AAAA-bbbb-7ccc-8ddd-eeeeffff0000", "1", "-1", "nightly", "a tag", "a\ntag"),
        ]
    ),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def _altered(draw: st.DrawFn) -> bytes:
    """A member or two of the document, however deep, are another, gone, new or there twice."""
    document = json.loads(_VALID)
    document["tags"] = ["nightly"]
    for _ in range(draw(st.integers(1, 2))):
        place = document
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and draw(st.booleans()):
                place = inner
                continue
            if draw(st.integers(0, 5)) == 0:
                del place[key]
            else:
                place[key] = draw(_VALUES)
            break
    extra = draw(st.sampled_from(["", "suspect", "held", "size_bytes", "notes", "id", "manifest"]))
    if extra:
        text = json.dumps(document)[:-1]
        return f"{text}, {json.dumps(extra)}: {json.dumps(draw(_VALUES))}}}".encode()
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@given(_altered())
def test_other_values_show_the_same(plain: bytes) -> None:
    assert _same(plain)


_FOREIGN: dict[str, _Change] = {
    "marks are no members": lambda d: d.update(suspect="x", held="y", size_bytes=1),
    "another version": lambda d: d.update(manifest_version=2),
    "version true": lambda d: d.update(manifest_version=True),
    "no version": lambda d: d.pop("manifest_version"),
    "no tags": lambda d: d.pop("tags"),
    "tags null": lambda d: d.update(tags=None),
    "a tag with a line": lambda d: d.update(tags=["a\nb"]),
    "tags of Arabic digits": lambda d: d.update(tags=["\u0661"]),
    "no run": lambda d: d.pop("run_id"),
    "id in capitals": lambda d: d.update(id=d["id"].upper()),
    "id with a line": lambda d: d.update(id=d["id"] + "\n"),
    "half a surrogate pair": lambda d: d["vm"].update(name="\ud800"),
    "details of pairs": lambda d: d["vm"].update(details=[["a", 1]]),
    "details a number": lambda d: d["vm"].update(details=1),
    "token empty": lambda d: d["disks"][0].update(token={}),
    "token a list": lambda d: d["disks"][0].update(token=[1]),
    "root too short": lambda d: d["disks"][0].update(root="00"),
    "root with spaces": lambda d: d["disks"][0].update(root="00" * 30 + " " * 4),
    "root in capitals": lambda d: d["disks"][0].update(root="AB" * 32),
    "chunks of none": lambda d: d["artifacts"][0].update(chunks=["x" * 64]),
    "chunks cut in two": lambda d: d["artifacts"][0].update(chunks=["00" * 48, "00" * 16]),
    "height as text": lambda d: d["disks"][0].update(height="1"),
    "height infinite": lambda d: d["disks"][0].update(height=float("inf")),
    "proven a number": lambda d: d["disks"][0].update(proven=2),
    "notes a text": lambda d: d.update(notes="ab"),
    "parent not a number": lambda d: d.update(parent_id=float("nan")),
    "a size beyond 64 bits": lambda d: d["disks"][0].update(size_bytes=2**70),
    "a time by another clock": lambda d: d.update(captured_at="2026-01-31T12:00:00.000+05:00"),
    "a time without zone": lambda d: d.update(created_at="2026-01-31T12:00:00.000"),
    "a time in microseconds": lambda d: d.update(captured_at="2026-01-31T12:00:00.123456Z"),
}


@pytest.mark.parametrize("name", sorted(_FOREIGN))
def test_a_manifest_of_another_writer_shows_the_same(name: str) -> None:
    document = json.loads(_VALID)
    _FOREIGN[name](document)
    assert _same(json.dumps(document).encode())


@pytest.mark.parametrize("place", [b'"vcpus": 2', b'"manifest_version": 1', b'"notes": ['])
@pytest.mark.parametrize(
    "inserted",
    [
        b'"more": ' + b"1" * 4300,
        b'"more": ' + b"1" * 4301,
        b'"more": -' + b"1" * 4301,
        b'"more": 0.' + b"1" * 5000,
        b'"more": "' + b"1" * 5000 + b'"',
        b'"more": "\xff"',
        b'"more": "\xed\xa0\x80"',
        '"more": "ü"'.encode(),
        b'"more": "\\ud800"',
        b'"more": "\x00"',
        b'"more": NaN',
        b'"more": 1e400',
        b'"more": 01',
        b'"more": ' + b"[" * 100 + b"]" * 100,
        b'"more": ' + b"[" * 100_000 + b"]" * 100_000,
        b'"more": ' + b'{"a":' * 100_000,
    ],
    ids=lambda inserted: inserted[8:16],
)
def test_what_is_passed_over_is_judged_the_same(place: bytes, inserted: bytes) -> None:
    """Also where no value is made of it."""
    assert place in _VALID
    assert _same(_VALID.replace(place, inserted + b", " + place, 1))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_shows_the_same(encoding: str) -> None:
    assert _same(_VALID.decode().encode(encoding))


@pytest.mark.parametrize("length", range(0, len(_VALID), 7))
def test_half_a_manifest_is_damage(length: int) -> None:
    with pytest.raises(ObjectDamaged):
        decode_listed(_VALID[:length], key="k")

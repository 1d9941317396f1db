"""Manifests of every kind, and bytes that are garbled a little. Enter at `MANIFESTS`."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from holdfast.repository.format.point import (
    TAG_PATTERN,
    ArtifactRecord,
    DiskRecord,
    Manifest,
    VmRecord,
)

POINT = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"

_texts = st.text(max_size=20)
_counts = st.integers(0, 2**63)
_ids = st.binary(min_size=32, max_size=32)
_times = (
    st.integers(0, 2**42)
    .map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))
    .map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
)
_json = st.dictionaries(_texts, st.one_of(st.none(), st.booleans(), st.integers(), _texts))
_tags = st.from_regex(TAG_PATTERN, fullmatch=True)
_disks = st.builds(
    DiskRecord,
    key=_texts,
    size_bytes=_counts,
    format=_texts,
    root=_ids,
    height=st.integers(0, 9),
    mode=_texts,
    reason=_texts,
    read_bytes=_counts,
    changed_bytes=_counts,
    stored_bytes=_counts,
    proven=st.booleans(),
    token=st.one_of(st.none(), _json),
)
MANIFESTS = st.builds(
    Manifest,
    id=st.uuids().map(str),
    vm=st.builds(VmRecord, id=_texts, name=_texts, platform=_texts, details=_json),
    run_id=_texts,
    captured_at=_times,
    created_at=_times,
    captured_as=st.sampled_from(["full", "incremental"]),
    parent_id=st.one_of(st.none(), st.uuids().map(str)),
    consistency=_texts,
    chunk_bytes=_counts,
    disks=st.lists(_disks, max_size=3).map(tuple),
    artifacts=st.lists(
        st.builds(
            ArtifactRecord,
            name=_texts,
            size_bytes=_counts,
            chunks=st.lists(_ids, max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    notes=st.lists(_texts, max_size=2).map(tuple),
    stored_bytes=_counts,
    tags=st.lists(_tags, max_size=2).map(tuple),
)
"""Any that can be written."""


def sample_manifest() -> Manifest:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    disk = DiskRecord(
        key="vda",
        size_bytes=5242880,
        format="qcow2",
        root=bytes(range(32)),
        height=1,
        mode="changed",
        reason="1.0 MiB changed",
        read_bytes=1048576,
        changed_bytes=4096,
        stored_bytes=100,
        proven=False,
        token={"kind": "k", "values": {"checkpoint": "c"}},
    )
    return Manifest(
        id=POINT,
        vm=VmRecord(id="i", name="n", platform="p", details={"vcpus": 2}),
        run_id=POINT,
        captured_at=moment,
        created_at=moment,
        captured_as="incremental",
        parent_id=POINT,
        consistency="crash",
        chunk_bytes=65536,
        disks=(disk,),
        artifacts=(ArtifactRecord(name="x", size_bytes=3, chunks=(bytes(32),)),),
        notes=("a note",),
        stored_bytes=1,
    )


@st.composite
def mutations(draw: st.DrawFn, valid: bytes) -> bytes:
    """A few changes to the bytes."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "swap", "zero"]))
        if kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[place:place] = draw(
                st.one_of(
                    st.binary(max_size=8), st.sampled_from([b"e99", b"[" * 50, b"null", b"-"])
                )
            )
        elif kind == "swap":
            data[:] = data[place:] + data[:place]
        elif kind == "zero":
            data[place : place + 16] = bytes(len(data[place : place + 16]))
        elif data:
            data[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)

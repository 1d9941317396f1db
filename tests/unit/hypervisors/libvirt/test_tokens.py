"""What makes a token worthless, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hypervisors.driver import ChangeToken, Disk
from holdfast.hypervisors.libvirt.bitmaps import Bitmap
from holdfast.hypervisors.libvirt.tokens import DiskFacts, Epoch, judge, make_token

NAME = "holdfast-01890000-0000-7000-8000-000000000001"
DISK = Disk(key="vda", size_bytes=1 << 30, format="qcow2", path="/srv/a", tracks_changes=True)
EPOCH = Epoch(
    path="/srv/a",
    device="1",
    inode="2",
    size_bytes=str(1 << 30),
    layers="",
    qemu_start="boot/1/2",
    node="libvirt-1-format",
)
GOOD = Bitmap(name=NAME, recording=True, inconsistent=False)
FACTS = DiskFacts(disk=DISK, epoch=EPOCH, bitmaps={NAME: GOOD})
TOKEN = make_token(checkpoint=NAME, repository_id="repo", vm_id="vm", facts=FACTS)


def verdict(
    facts: DiskFacts = FACTS,
    token: ChangeToken | None = TOKEN,
    *,
    repository_id: str | None = "repo",
    vm_id: str = "vm",
    checkpoints: frozenset[str] | None = frozenset({NAME}),
) -> str:
    return judge(token, facts, vm_id=vm_id, repository_id=repository_id, checkpoints=checkpoints)


def epoch(**changes: str) -> DiskFacts:
    return replace(FACTS, epoch=replace(EPOCH, **changes))


def bitmap(*, recording: bool = True, inconsistent: bool = False) -> DiskFacts:
    # A count says nothing: an inconsistent bitmap reports 0.
    changed = replace(GOOD, recording=recording, inconsistent=inconsistent, estimate_bytes=0)
    return replace(FACTS, bitmaps={NAME: changed})


def test_a_true_token_is_believed() -> None:
    assert verdict() == ""
    assert verdict(repository_id=None) == ""
    assert verdict(checkpoints=None) == ""
    assert verdict(epoch(qemu_start="boot/3/4")) == ""
    assert verdict(epoch(qemu_start="boot/3/4", node="libvirt-2-format")) == ""
    assert verdict(epoch(qemu_start="", node="")) == "", "the VM was shut off since"


def test_a_token_of_an_earlier_version_is_believed() -> None:
    values = {name: value for name, value in TOKEN.values.items() if name != "node"}
    assert verdict(token=replace(TOKEN, values=values)) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (verdict(token=None), "no earlier point"),
        (verdict(token=replace(TOKEN, kind="vsphere-cbt")), "another kind"),
        (verdict(replace(FACTS, disk=replace(DISK, tracks_changes=False))), "cannot record"),
        (verdict(repository_id="other"), "another repository"),
        (verdict(vm_id="other"), "another disk"),
        (verdict(epoch(path="/srv/b")), "is now at /srv/b"),
        (verdict(epoch(inode="9")), "was replaced"),
        (verdict(epoch(node="libvirt-5-format")), "detached and attached again"),
        (verdict(epoch(device="9")), "was replaced"),
        (verdict(epoch(size_bytes="5")), "resized"),
        (verdict(epoch(layers="x")), "backing file"),
        (verdict(checkpoints=frozenset()), "no longer has"),
        (verdict(bitmap(inconsistent=True)), "not closed properly"),
        (verdict(bitmap(recording=False)), "switched off"),
        (verdict(replace(FACTS, bitmaps=None)), "does not report"),
        (verdict(replace(FACTS, bitmaps={})), "no longer in the image"),
        (
            verdict(replace(epoch(qemu_start="boot/3/4"), bitmaps={})),
            "lost when QEMU ended without saving it",
        ),
    ],
)
def test_any_doubt_is_a_reason(reason: str, words: str) -> None:
    assert words in reason

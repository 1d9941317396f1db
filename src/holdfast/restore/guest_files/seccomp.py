"""Owns the list of system calls that the sandboxed reader is refused. Must not know the sandbox.
Enter at `filter_program`.

A deny list, not an allow list: what an interpreter and the C library call differs between their
versions, and the other layers (no network, no files, no privileges, no processes) hold anyway. It
takes away the calls that lead out of a confined process through faults of the kernel.
"""

from __future__ import annotations

import platform
import struct

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
"""Refused calls fail with EPERM (1)."""
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_X86_64 = 0xC000003E
_X32_FIRST = 0x40000000

_DENIED_X86_64 = {
    "shmget": 29,
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "bind": 49,
    "listen": 50,
    "socketpair": 53,
    "clone": 56,
    "fork": 57,
    "vfork": 58,
    "semget": 64,
    "msgget": 68,
    "ptrace": 101,
    "syslog": 103,
    "personality": 135,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "accept4": 288,
    "perf_event_open": 298,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "memfd_create": 319,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "pidfd_getfd": 438,
}


def filter_program() -> bytes | None:
    """A classic BPF program for `bwrap --seccomp`; None on processors without a list."""
    if platform.machine() != "x86_64":
        return None
    numbers = sorted(_DENIED_X86_64.values())
    program = [
        _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, _X86_64),
        _INSTRUCTION.pack(_RETURN, 0, 0, _KILL),
        _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        # The x32 calls are the same ones under other numbers.
        _INSTRUCTION.pack(_JUMP_GREATER_EQUAL, len(numbers) + 1, 0, _X32_FIRST),
    ]
    for index, number in enumerate(numbers):
        # Jumps count from the next instruction; the refusal stands behind the last test and ALLOW.
        program.append(_INSTRUCTION.pack(_JUMP_EQUAL, len(numbers) - index, 0, number))
    program.append(_INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW))
    program.append(_INSTRUCTION.pack(_RETURN, 0, 0, _REFUSE))
    return b"".join(program)

"""Byte units and their forms a person can read."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_STEPS = (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB))


def format_bytes(size_bytes: int) -> str:
    """`1536` becomes `1.5 KiB`; below one KiB the exact number of bytes."""
    for name, step in _STEPS:
        if abs(size_bytes) >= step:
            return f"{size_bytes / step:.1f} {name}"
    return f"{size_bytes} B"


def format_count(number: int, noun: str) -> str:
    """`1 pack`, `3 packs`: for nouns whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_rate(bytes_per_second: float) -> str:
    """Throughput for a person: `format_bytes` a second."""
    return f"{format_bytes(int(bytes_per_second))}/s"


def format_duration(duration_s: float) -> str:
    """`75.3` becomes `1 min 15 s`; below ten seconds one decimal is kept."""
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def parse_size(text: str) -> int:
    """Bytes in `64MiB`, `64M`, `1.5 GiB` or `4096`; binary units only.

    Raises ValueError when the text is not a size.
    """
    cleaned = text.strip().lower().removesuffix("b").removesuffix("i")
    factor = {"k": KIB, "m": MIB, "g": GIB, "t": TIB}.get(cleaned[-1:])
    number = cleaned[:-1] if factor else cleaned
    size = float(number) * (factor or 1)
    if not 0 <= size < float("inf"):
        raise ValueError(f"not a size: {text!r}")
    return int(size)


def ceil_div(dividend: int, divisor: int) -> int:
    """Number of blocks of `divisor` that hold `dividend`."""
    return -(-dividend // divisor)

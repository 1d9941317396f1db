"""What all schemas share: strict input, exact output, pages, problems."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from holdfast.core.clock import format_time

Item = TypeVar("Item")


def _rfc3339(moment: datetime) -> str:
    return format_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


Time = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""RFC 3339 in UTC with milliseconds."""

Id = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


class Input(BaseModel):
    """What a client sends: unknown fields are refused, so that a slip is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


class Output(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Output, Generic[Item]):
    """One page of a list. `next_cursor` goes into `cursor` for the next; null on the last."""

    items: list[Item]
    total: int
    next_cursor: str | None = None


class FieldProblem(Output):
    """What is wrong with one field of a request."""

    field: str
    """Path in the body or the name of a parameter: `disks.0.key`."""
    problem: str


class Problem(Output):
    """RFC 9457. `code` is stable, `detail` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    params: dict[str, Any] = Field(default_factory=dict)
    fields: list[FieldProblem] = Field(default_factory=list[FieldProblem])
    retry: Literal["never", "later", "now"] = "never"
    request_id: str = ""


class Count(Output):
    """One slice of a whole, for filters and cards."""

    value: str
    count: int

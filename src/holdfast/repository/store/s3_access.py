"""Where an S3 repository is and who asks: plain values, checked. Knows nothing of requests.

Enter at `S3Location.parse` and `S3Access.check`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from holdfast.core.errors import InvalidInput

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
_REGION = re.compile(r"[a-z0-9-]{1,64}")


def is_s3_url(location: str) -> bool:
    return location.startswith(SCHEME)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A bucket, and the part of its keys that belongs to one repository."""

    bucket: str
    prefix: str
    """Without a slash at either end; empty for the whole bucket."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """From `s3://bucket` or `s3://bucket/some/prefix`. Raises InvalidInput."""
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        prefix = prefix.rstrip("/")
        if not is_s3_url(url) or _BUCKET.fullmatch(bucket) is None:
            problem = "write it as s3://bucket/prefix; a bucket's name has 3 to 63 small letters"
            raise InvalidInput(what=url, problem=problem)
        if prefix and _FOLDER.fullmatch(prefix) is None:
            problem = "the prefix may have letters, digits, '.', '_' and '-', with '/' between"
            raise InvalidInput(what=url, problem=problem)
        return cls(bucket=bucket, prefix=prefix)

    @property
    def url(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}" if self.prefix else f"{SCHEME}{self.bucket}"

    def path(self, name: str) -> str:
        """Of an object, or of a folder of objects, within the bucket."""
        return "/".join(part for part in (self.prefix, name) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """How to reach a bucket. Its `repr` shows no secret."""

    region: str
    endpoint: str = ""
    """Base URL of the service; empty for Amazon's own in that region."""
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    allow_http: bool = False
    """Accept an unencrypted endpoint on another host. Backups are sealed before they are sent, but
    everyone on the way sees object names and can replay requests."""
    ca_file: str = ""
    """Path of a PEM file of further authorities to trust, for a service with its own."""

    @property
    def url(self) -> str:
        """The endpoint, Amazon's filled in."""
        if self.endpoint:
            return self.endpoint.rstrip("/")
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"https://s3.{self.region}.{domain}"

    @property
    def is_http(self) -> bool:
        return urlsplit(self.url).scheme == "http"

    def check(self) -> None:
        """Raises InvalidInput for what cannot work or must not be tried."""
        if not self.access_key_id or not self.secret_access_key:
            problem = (
                "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file "
                "in HOLDFAST_S3_CREDENTIALS_FILE"
            )
            raise InvalidInput(what="S3", problem=problem)
        if _REGION.fullmatch(self.region) is None:
            raise InvalidInput(what="S3 region", problem=f"{self.region!r} is not a region")
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidInput(what="S3 endpoint", problem="it is not a URL") from error
        if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
            raise InvalidInput(what="S3 endpoint", problem="write it as https://host[:port]")
        if parts.username is not None or parts.password is not None:
            # A URL is shown in messages; credentials have fields of their own.
            raise InvalidInput(what="S3 endpoint", problem="it must not hold credentials")
        if parts.scheme == "http" and not self.allow_http and not _is_loopback(host):
            problem = (
                f"{host} would be spoken to without encryption; use https, or set "
                "HOLDFAST_S3_ALLOW_HTTP=1 if the network is trusted"
            )
            raise InvalidInput(what="S3 endpoint", problem=problem)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

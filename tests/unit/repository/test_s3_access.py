"""What may be a location and an endpoint, and what S3's answers mean."""

from __future__ import annotations

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError

from holdfast.core.errors import InvalidInput
from holdfast.repository import S3Access
from holdfast.repository.store.s3_access import S3Location
from holdfast.repository.store.s3_faults import Kind, fault_of


def _access(endpoint: str, *, allow_http: bool = False) -> S3Access:
    return S3Access(
        region="eu-central-1",
        endpoint=endpoint,
        access_key_id="id",
        secret_access_key="canary-secret",  # noqa: S106 - no secret
        session_token="canary-token",  # noqa: S106 - no secret
        allow_http=allow_http,
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("s3://bucket", "packs/a"),
        ("s3://bucket/", "packs/a"),
        ("s3://bucket/Some/pre.fix", "Some/pre.fix/packs/a"),
        ("s3://bucket/one/", "one/packs/a"),
    ],
)
def test_a_location_puts_objects_below_its_prefix(url: str, path: str) -> None:
    assert S3Location.parse(url).path("packs/a") == path
    assert S3Location.parse(url).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://Bucket/x",
        "s3://a/x",
        "s3://user:secret@bucket/x",
        "s3://bucket/../other",
        "s3://bucket/a/./b",
        "s3://bucket/a//b",
        "s3://bucket/a?x=1",
        "s3://bucket/ä",
        "s3://bucket/a\n",
        "http://bucket/x",
    ],
)
def test_what_is_no_location_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        S3Location.parse(url)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "https://s3.example.com",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://localhost",
    ],
)
def test_an_endpoint_that_may_be_used(endpoint: str) -> None:
    _access(endpoint).check()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example.com",
        "http://10.0.0.1:9000",
        "http://127.0.0.1.example.com",
        "ftp://127.0.0.1",
        "https://user:secret@s3.example.com",
        "https://",
        "s3.example.com",
        "https://host:port",
        "https://s3.example.com/?x=1",
    ],
)
def test_an_endpoint_that_must_not_be_used(endpoint: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        _access(endpoint).check()
    assert "secret" not in str(raised.value)


def test_http_elsewhere_on_demand_only() -> None:
    _access("http://10.0.0.1:9000", allow_http=True).check()


def test_amazon_is_the_default() -> None:
    assert _access("").url == "https://s3.eu-central-1.amazonaws.com"


def test_no_secret_is_shown() -> None:
    assert "canary" not in repr(_access(""))


def _said(status: str, body: str = "") -> str:
    return (
        "Generic S3 error: Error performing PUT http://h/b/k in 1ms - Server returned non-2xx "
        f"status code: {status}: {body}\n\nDebug source:\nGeneric {{ body: status code: 200 }}"
    )


def _code(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>text</Message></Error>"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AlreadyExistsError(_said("412 Precondition Failed")), Kind.EXISTS),
        # obstore calls every 409 an existing object.
        (AlreadyExistsError(_said("409 Conflict", _code("OperationAborted"))), Kind.PASSING),
        (FileNotFoundError(_said("404 Not Found", _code("NoSuchKey"))), Kind.MISSING),
        (FileNotFoundError(_said("404 Not Found", _code("NoSuchBucket"))), Kind.REFUSED),
        (FileNotFoundError(_said("404 Not Found", "<html>")), Kind.PASSING),
        (PermissionDeniedError(_said("403 Forbidden", _code("AccessDenied"))), Kind.REFUSED),
        (GenericError(_said("416 Range Not Satisfiable")), Kind.OUTSIDE),
        (GenericError(_said("503 Slow Down", _code("SlowDown"))), Kind.PASSING),
        (GenericError(_said("400 Bad Request", _code("BadDigest"))), Kind.PASSING),
        (GenericError(_said("400 Bad Request", _code("InvalidArgument"))), Kind.REFUSED),
        (GenericError(_said("403 Forbidden", _code("QuotaExceeded"))), Kind.FULL),
        (GenericError(_said("507 Insufficient Storage")), Kind.FULL),
        (GenericError("Generic S3 error: error sending request"), Kind.PASSING),
    ],
)
def test_what_an_answer_means(error: Exception, kind: Kind) -> None:
    assert fault_of(error).kind is kind


def test_nothing_else_of_an_answer_is_repeated() -> None:
    body = (
        "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>"
        "<CanonicalRequest>x-amz-security-token:canary</CanonicalRequest></Error>"
    )
    fault = fault_of(PermissionDeniedError(_said("403 Forbidden", body)))
    assert fault.problem == "HTTP 403 SignatureDoesNotMatch no"
    assert "secret key" in fault.remedy

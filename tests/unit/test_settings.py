"""S3's settings: the environment's standard names, and a file that comes before them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.core.errors import InvalidInput
from holdfast.repository import S3Access
from holdfast.settings import read_s3_access, read_settings

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "env-id",
    "AWS_SECRET_ACCESS_KEY": "env-secret",
    "AWS_SESSION_TOKEN": "env-token",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "ignored",
    "AWS_ENDPOINT_URL": "https://ignored",
    "AWS_ENDPOINT_URL_S3": "https://s3.example.com",
    "AWS_CA_BUNDLE": "/etc/ca.pem",
}
_INI = """\
[default]
aws_access_key_id = file-id
aws_secret_access_key = file%secret
[other]
aws_access_key_id = other
"""
_JSON = json.dumps({"aws_access_key_id": "file-id", "aws_secret_access_key": "file%secret"})


def _read(environment: dict[str, str]) -> S3Access:
    return read_s3_access(read_settings({"HOME": "/home/x", **environment}).s3)


def _file(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    path = folder / "credentials"
    path.write_text(text)
    path.chmod(mode)
    return {"HOLDFAST_S3_CREDENTIALS_FILE": str(path)}


def test_standard_names() -> None:
    access = _read(_ENVIRONMENT)
    secrets = (access.access_key_id, access.secret_access_key, access.session_token)
    assert secrets == ("env-id", "env-secret", "env-token")
    assert (access.region, access.endpoint) == ("eu-central-1", "https://s3.example.com")
    assert access.ca_file == "/etc/ca.pem"
    assert not access.allow_http
    assert _read({"AWS_DEFAULT_REGION": "x"}).region == "x"
    assert _read({}).region == "us-east-1"
    assert _read({"HOLDFAST_S3_ALLOW_HTTP": "1"}).allow_http


@pytest.mark.parametrize("text", [_INI, _JSON])
def test_a_file_comes_first(tmp_path: Path, text: str) -> None:
    access = _read(_ENVIRONMENT | _file(tmp_path, text))
    assert (access.access_key_id, access.secret_access_key) == ("file-id", "file%secret")
    assert access.session_token == "", "the token of another key"
    assert access.region == "eu-central-1"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidInput, match="chmod 600"):
        _read(_file(tmp_path, _INI, mode))


@pytest.mark.parametrize(
    "text",
    [
        "canary-secret",
        '{"aws_secret_access_key": "canary-secret"',
        "[default]\naws_secret_access_key = canary-secret\n",
        "[default]\ncanary-secret\n",
        '{"aws_access_key_id": 5, "aws_secret_access_key": "canary-secret"}',
        "",
    ],
)
def test_a_broken_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        _read(_ENVIRONMENT | _file(tmp_path, text))
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_setting_shows_a_secret() -> None:
    assert "env-secret" not in repr(read_settings(_ENVIRONMENT))
    assert "env-token" not in repr(read_settings(_ENVIRONMENT))

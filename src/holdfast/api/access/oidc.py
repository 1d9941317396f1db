"""Single sign-on through OpenID Connect: discovery, code flow with PKCE, state and nonce, and roles
from a claim. Nobody whose claim maps to no role gets in; what the claim says replaces the user's
roles at every sign-in. A user who came this way is known by issuer and subject, never by name.
"""

from __future__ import annotations

import json
import re
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.orm import Session

from holdfast.catalog import users
from holdfast.catalog.models import User
from holdfast.catalog.sealing import SealedSecretUnreadable, Sealing
from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import Clock
from holdfast.core.errors import Category, HoldfastError, InvalidInput, Retry
from holdfast.policy.access import Grant, Role

SETTING = "auth.oidc"
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_TIMEOUT_S = 10.0
_ATTEMPT_S = 600
_LEEWAY_S = 60
_LONGEST_ANSWER = 512 * 1024


@dataclass(kw_only=True, eq=False)
class OidcOff(HoldfastError):
    code = "oidc_off"
    category = Category.CONFLICT
    template = "single sign-on is not set up"
    hint = "Sign in with name and password"


@dataclass(kw_only=True, eq=False)
class OidcProviderFailed(HoldfastError):
    code = "oidc_provider_failed"
    retry = Retry.LATER
    template = "the identity provider does not answer as it should: {problem}"
    hint = "Try again; an administrator checks the issuer in the sign-in settings"
    problem: str


@dataclass(kw_only=True, eq=False)
class OidcRefused(HoldfastError):
    code = "oidc_refused"
    template = "this sign-in cannot be accepted: {problem}"
    hint = "Begin again from the sign-in page; ask an administrator if it stays"
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfiguration:
    enabled: bool
    name: str
    issuer: str
    client_id: str
    client_secret: str
    claim: str
    role_map: Mapping[str, str]

    def __repr__(self) -> str:
        return f"OidcConfiguration({self.issuer})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    url: str
    sealed: str
    """For a cookie of its own: what the answer must fit to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    issuer: str
    subject: str
    name: str
    display_name: str
    grants: Sequence[Grant]
    next: str


def read_configuration(session: Session, sealing: Sealing) -> OidcConfiguration:
    value = read_setting(session, SETTING)
    sealed = value.get("sealed")
    secret = sealing.unseal("setting", SETTING, "value", bytes.fromhex(sealed)) if sealed else b""
    return OidcConfiguration(
        enabled=bool(value.get("enabled")),
        name=str(value.get("name", "Single sign-on")),
        issuer=str(value.get("issuer", "")),
        client_id=str(value.get("client_id", "")),
        client_secret=secret.decode(),
        claim=str(value.get("claim", "groups")),
        role_map=cast("dict[str, str]", value.get("role_map", {})),
    )


def write_configuration(
    session: Session, sealing: Sealing, wanted: OidcConfiguration, clock: Clock
) -> None:
    """Raises InvalidInput."""
    require_issuer(wanted.issuer)
    value: dict[str, Any] = {
        "enabled": wanted.enabled,
        "name": wanted.name,
        "issuer": wanted.issuer,
        "client_id": wanted.client_id,
        "claim": wanted.claim,
        "role_map": dict(wanted.role_map),
    }
    if wanted.client_secret:
        sealed = sealing.seal("setting", SETTING, "value", wanted.client_secret.encode())
        value["sealed"] = sealed.hex()
    write_setting(session, SETTING, value, clock)


def require_issuer(issuer: str) -> None:
    """https, or http on this host. Raises InvalidInput."""
    parts = urlsplit(issuer)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.scheme not in ({"https", "http"} if local else {"https"}) or not parts.hostname:
        raise InvalidInput(what="issuer", problem="is not an https:// address")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise InvalidInput(what="issuer", problem="has more than host and path")


class OidcSignIn:
    """One configuration, for one request. Blocking."""

    def __init__(self, configuration: OidcConfiguration, sealing: Sealing, clock: Clock) -> None:
        self._configuration = configuration
        self._sealing = sealing
        self._clock = clock

    def depart(self, redirect_uri: str, next_path: str) -> Departure:
        """Where to send the browser. Raises OidcProviderFailed."""
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        with self._client(redirect_uri) as client:
            url, state = client.create_authorization_url(
                self._provider(client)["authorization_endpoint"],
                code_verifier=verifier,
                nonce=nonce,
            )
        attempt = {
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "next": next_path,
            "until": self._clock.now().timestamp() + _ATTEMPT_S,
        }
        plain = json.dumps(attempt).encode()
        sealed = self._sealing.seal("oidc", self._configuration.issuer, "attempt", plain)
        return Departure(url=str(url), sealed=sealed.hex())

    def arrive(self, redirect_uri: str, query: Mapping[str, str], sealed: str) -> Arrival:
        """Who came back. Raises OidcRefused, OidcProviderFailed."""
        attempt = self._attempt(sealed)
        if not secrets.compare_digest(str(attempt["state"]), query.get("state", "")):
            raise OidcRefused(problem="it was begun in another browser")
        if query.get("error"):
            raise OidcRefused(problem=f"the provider says {_short(query['error'])}")
        with self._client(redirect_uri) as client:
            provider = self._provider(client)
            try:
                token = client.fetch_token(
                    provider["token_endpoint"],
                    grant_type="authorization_code",
                    code=query.get("code", ""),
                    code_verifier=attempt["verifier"],
                )
            except Exception as error:
                raise OidcProviderFailed(problem="it refused the code") from error
            keys = self._get(client, provider["jwks_uri"])
        claims = self._claims(str(token.get("id_token", "")), keys, str(attempt["nonce"]))
        return self._arrival(claims, str(attempt["next"]))

    def _client(self, redirect_uri: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it prefers another HTTP client from now on
            from authlib.integrations.httpx_client import OAuth2Client
        configuration = self._configuration
        return OAuth2Client(
            client_id=configuration.client_id,
            client_secret=configuration.client_secret or None,
            token_endpoint_auth_method="client_secret_basic"
            if configuration.client_secret
            else "none",
            scope="openid profile email",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )

    def _provider(self, client: Any) -> dict[str, Any]:
        issuer = self._configuration.issuer
        found = self._get(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise OidcProviderFailed(problem="it calls itself by another issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            try:
                require_issuer(str(found.get(name, "")).partition("?")[0])
            except InvalidInput as error:
                raise OidcProviderFailed(problem=f"its {name} is not usable") from error
        return found

    def _get(self, client: Any, url: str) -> dict[str, Any]:
        try:
            answer = client.request("GET", url, withhold_token=True)
            answer.raise_for_status()
            if len(answer.content) > _LONGEST_ANSWER:
                raise OidcProviderFailed(problem="it answers too much")
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise OidcProviderFailed(problem=type(error).__name__) from error
        if not isinstance(found, dict):
            raise OidcProviderFailed(problem="it answers something else than an object")
        return cast("dict[str, Any]", found)

    def _attempt(self, sealed: str) -> dict[str, Any]:
        try:
            plain = self._sealing.unseal(
                "oidc", self._configuration.issuer, "attempt", bytes.fromhex(sealed)
            )
        except (ValueError, SealedSecretUnreadable) as error:
            raise OidcRefused(problem="it was not begun here") from error
        attempt = cast("dict[str, Any]", json.loads(plain))
        if attempt["until"] < self._clock.now().timestamp():
            raise OidcRefused(problem="it took too long")
        return attempt

    def _claims(self, id_token: str, keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        try:
            key_set = KeySet.import_key_set(cast("Any", keys))
            claims = dict(jwt.decode(id_token, key_set, algorithms=_ALGORITHMS).claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OidcRefused(problem="the signature is not the provider's") from error
        audience = claims.get("aud")
        audiences = cast("list[Any]", audience if isinstance(audience, list) else [audience])
        now = self._clock.now().timestamp()
        own = self._configuration.client_id
        fits = (
            claims.get("iss") == self._configuration.issuer
            and own in audiences
            and claims.get("azp", own) == own
            and secrets.compare_digest(str(claims.get("nonce", "")), nonce)
            and _number(claims.get("exp")) + _LEEWAY_S > now
            and _number(claims.get("iat")) - _LEEWAY_S < now
            and isinstance(claims.get("sub"), str)
            and bool(claims.get("sub"))
        )
        if not fits:
            raise OidcRefused(problem="its token is for another service, attempt or time")
        return claims

    def _arrival(self, claims: dict[str, Any], next_path: str) -> Arrival:
        value = claims.get(self._configuration.claim, [])
        values = cast("list[Any]", value if isinstance(value, list) else [value])
        roles = {
            Role(self._configuration.role_map[item])
            for item in values
            if isinstance(item, str) and item in self._configuration.role_map
        }
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        if not roles:
            raise OidcRefused(problem=f"{_short(name)} has no role here")
        return Arrival(
            issuer=self._configuration.issuer,
            subject=str(claims["sub"])[:255],
            name=name,
            display_name=_short(str(claims.get("name", ""))),
            grants=[Grant(role=role) for role in sorted(roles, key=lambda role: role.value)],
            next=next_path,
        )


def take_in(session: Session, arrival: Arrival, clock: Clock) -> User:
    """The user's row, made at their first sign-in, with the roles of now. Raises OidcRefused for
    who was disabled here."""
    user = users.find_external_user(session, arrival.issuer, arrival.subject)
    if user is None:
        return users.add_user(
            session,
            name=_free_name(session, arrival.name),
            display_name=arrival.display_name,
            password_hash=None,
            grants=arrival.grants,
            clock=clock,
            issuer=arrival.issuer,
            subject=arrival.subject,
        )
    if user.disabled:
        raise OidcRefused(problem="the account is disabled here")
    user.display_name = arrival.display_name or user.display_name
    if set(users.grants_of(session, user.id)) != set(arrival.grants):
        users.set_grants(session, user, arrival.grants, clock)
    return user


def _free_name(session: Session, wanted: str) -> str:
    """Never that of somebody else: a name at the provider proves nothing here."""
    name = re.sub(r"[^a-z0-9._@-]", "-", wanted.lower()).lstrip("._@-")[:80] or "user"
    while users.find_user_by_name(session, name) is not None:
        name = f"{name[:80]}-{secrets.token_hex(3)}"
    return name


def _short(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:200]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

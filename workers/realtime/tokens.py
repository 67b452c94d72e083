"""Checking a JWT, and making one. Algorithm, issuer and audience are pinned by the settings, never read from the token."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import jwt
from pydantic import ValidationError

from contracts.commands.base import validation_errors
from contracts.realtime.token import Claims
from contracts.vocabulary import Role
from ops.settings import SettingsError, TokenSettings

LEEWAY: Final = 10  # seconds that the issuer's clock may be ahead
REQUIRED: Final = ["iss", "aud", "sub", "iat", "exp"]


class BadToken(Exception):
    """A token that is not taken; the message says why, and quotes nothing of it."""


class NoSigningKey(SettingsError):
    """Tokens can be checked here, and not made."""


class Tokens:
    """By the settings. Raises SettingsError when they name no key of the algorithm's kind."""

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._key = _key(settings)

    def verify(self, token: str) -> Claims:
        """Raises BadToken."""
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[settings.jwt_algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=0,
                options={"require": REQUIRED, "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise BadToken("the token has expired") from None
        except jwt.InvalidTokenError as error:
            raise BadToken(_WHY.get(type(error), "the token is not one of ours")) from None
        return self.read(claims)

    @staticmethod
    def read(claims: Mapping[str, Any]) -> Claims:
        """Claims that were signed, or kept behind a ticket. Raises BadToken."""
        try:
            found = Claims.model_validate(claims)
        except ValidationError as error:
            first = validation_errors(error, whole="claims")[0]
            raise BadToken(f"the token's {first['field']}: {first['message']}") from None
        now = time.time()
        if found.iat > now + LEEWAY:
            raise BadToken("the token's iat lies in the future")
        if found.exp <= now:
            raise BadToken("the token has expired")
        return found


_WHY: Final[Mapping[type[Exception], str]] = {
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidAlgorithmError: "the token is signed with another algorithm",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.MissingRequiredClaimError: "the token lacks one of iss, aud, sub, iat, exp",
}


def _key(settings: TokenSettings) -> str | bytes:
    if settings.jwt_algorithm.startswith("HS"):
        if settings.jwt_secret is None:
            raise SettingsError(
                "ROLLCALL_JWT_SECRET: is not set; set it to at least 32 random characters that the issuer of the tokens has too, "
                "or set ROLLCALL_JWT_ALGORITHM and ROLLCALL_JWT_PUBLIC_KEY_FILE"
            )
        return settings.jwt_secret
    if settings.jwt_public_key_file is None:
        raise SettingsError(
            f"ROLLCALL_JWT_PUBLIC_KEY_FILE: is not set; tokens of {settings.jwt_algorithm} are checked with the issuer's public key"
        )
    return settings.jwt_public_key_file.read_bytes()


def claims_of(
    settings: TokenSettings,
    *,
    tenant: str,
    role: Role,
    seconds: int,
    sub: str,
    contacts: Literal["*"] | Sequence[uuid.UUID] = "*",
    contact_id: uuid.UUID | None = None,
) -> Claims:
    """What a token says that is good from now on, for so many seconds. Raises ValidationError."""
    now = int(time.time())
    whose: dict[str, Any] = {"contact_id": contact_id} if role is Role.CONTACT else {"contacts": contacts}
    return Claims(
        iss=settings.jwt_issuer,
        aud=settings.jwt_audience,
        sub=sub,
        iat=now,
        exp=now + seconds,
        tenant=tenant,
        role=role,
        **whose,
    )


def signing_key(settings: TokenSettings) -> str:
    """What tokens are signed with. Raises NoSigningKey."""
    if settings.jwt_secret is None or not settings.jwt_algorithm.startswith("HS"):
        raise NoSigningKey(
            "ROLLCALL_JWT_SECRET: is not set, or ROLLCALL_JWT_ALGORITHM is not HS…: nothing here can sign a token; get one from its issuer, or copy the line that `rollcall up` prints"
        )
    return settings.jwt_secret


def sign(settings: TokenSettings, claims: Claims) -> str:
    """A token. Raises NoSigningKey."""
    return jwt.encode(
        claims.model_dump(mode="json", exclude_none=True), signing_key(settings), settings.jwt_algorithm
    )


def issue(settings: TokenSettings, **about: Any) -> str:
    """A token that says what ``claims_of`` makes of it. Raises NoSigningKey and ValidationError."""
    return sign(settings, claims_of(settings, **about))

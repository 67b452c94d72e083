"""Which tokens are taken, by the key and the algorithm that the settings name; and those that the command line prints."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from contracts.vocabulary import Role
from ops.cli.main import app
from ops.settings import TokenSettings
from workers.realtime.rights import Rights
from workers.realtime.tokens import BadToken, Tokens

SECRET = "of the tests, and long enough for the hash"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def key_of(algorithm: str) -> PrivateKey:
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(settings: TokenSettings) -> dict[str, Any]:
    now = int(time.time())
    about = {"iss": settings.jwt_issuer, "aud": settings.jwt_audience, "sub": "user:42"}
    return {**about, "iat": now, "exp": now + 60, "tenant": "acme", "role": "agent", "contacts": "*"}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_with_a_public_key(tmp_path: Path, algorithm: str):
    key, other = key_of(algorithm), key_of(algorithm)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key.pem").write_bytes(pem)
    settings = TokenSettings(jwt_algorithm=algorithm, jwt_public_key_file=tmp_path / "key.pem")  # type: ignore[arg-type]
    tokens = Tokens(settings)
    good = claims(settings)
    assert tokens.verify(jwt.encode(good, key, algorithm)).tenant == "acme"
    for forged in (jwt.encode(good, other, algorithm), signed_with_what_everybody_has(good, pem)):
        with pytest.raises(BadToken):
            tokens.verify(forged)


def signed_with_what_everybody_has(good: dict[str, Any], pem: bytes) -> str:
    """HS256 with the public key for a secret; made by hand, because the library refuses to."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    said = head + b"." + part(json.dumps(good).encode())
    return (said + b"." + part(hmac.new(pem, said, hashlib.sha256).digest())).decode()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"contacts": "all"}, 'the token\'s contacts: must be "*", or a list of contact ids'),
        ({"contacts": [str(uuid.uuid4()), "x"]}, "the token's contacts.1: must be a UUID"),
        ({"contacts": None}, "the token's claims: an agent's token needs contacts: \"*\", or a list of ids"),
        ({"role": "contact"}, "the token's claims: a contact's token needs contact_id"),
        *(
            (
                {"tenant": none},
                "the token's tenant: must be of [A-Za-z0-9_-], 1 to 64 characters, and not - alone",
            )
            for none in ("a.b", "", "-", "a\n", "x" * 65)
        ),
        ({"sub": "a\0"}, "the token's sub: must not hold NUL"),
    ],
)
def test_what_is_wrong_with_claims_is_said_in_words(wrong: dict[str, Any], said: str):
    settings = TokenSettings(jwt_secret=SECRET)
    with pytest.raises(BadToken) as refused:
        Tokens(settings).verify(jwt.encode({**claims(settings), **wrong}, SECRET, "HS256"))
    assert str(refused.value) == said


CONTACTS = [uuid.uuid4(), uuid.uuid4()]
PRINTED = {
    "of an agent": ([], Role.AGENT, None),
    "of an agent of some": ([f"--contact={each}" for each in CONTACTS], Role.AGENT, CONTACTS),
    "of a contact": (["--role=contact", f"--contact={CONTACTS[0]}"], Role.CONTACT, CONTACTS[:1]),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_token_that_the_command_prints(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    options, role, contacts = PRINTED[name]
    for variable, value in {"SECRET": SECRET, "ISSUER": "somebody", "AUDIENCE": "here"}.items():
        monkeypatch.setenv(f"ROLLCALL_JWT_{variable}", value)
    with pytest.raises(SystemExit) as ended:
        app(["token", "--tenant=acme", "--sub=user:7", "--expires-in=60", *options])
    assert ended.value.code == 0
    settings = TokenSettings(jwt_secret=SECRET, jwt_issuer="somebody", jwt_audience="here")
    rights = Rights.of(Tokens(settings).verify(capsys.readouterr().out.strip()))
    assert (rights.tenant, rights.role, rights.actor) == ("acme", role, "user:7")
    assert rights.contacts == (None if contacts is None else frozenset(contacts))
    assert 50 < rights.expires_at.timestamp() - time.time() <= 60

"""Encryption of what Temporal stores: AES-256-GCM, the key's id in the clear for rotation."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    PayloadConverter,
)

from domain.errors import Invalid
from workflows.messages import Declined

ENCODING: Final = b"binary/encrypted"
_NONCE: Final = 12
_KEY_BYTES: Final = 32
# Errors that our own validators word, perhaps with what they were given.
_OWN_WORDS: Final = {"value_error", "assertion_error"}


class Keyring:
    """
    The keys by id. New data is sealed with `active`; old data opens with the key that it names.

    Keys are 32 bytes. Raises Invalid for an unknown key id, a key of another size, or tampered
    data.
    """

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        if active not in keys:
            raise Invalid(f"the active key {active!r} is not among the keys {sorted(keys)}")
        if short := sorted(kid for kid, key in keys.items() if len(key) != _KEY_BYTES):
            raise Invalid(f"keys must be 32 bytes long; these are not: {short}")
        self._ciphers = {kid: AESGCM(key) for kid, key in keys.items()}
        self.active = active

    def encrypt(self, plain: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[self.active].encrypt(nonce, plain, None)

    def decrypt(self, sealed: bytes, kid: str) -> bytes:
        if kid not in self._ciphers:
            raise Invalid(f"no key {kid!r}: it was retired before the data that it sealed")
        try:
            return self._ciphers[kid].decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise Invalid(f"data sealed with key {kid!r} does not open: it was altered") from error

    def seal(self, text: str) -> str:
        """A secret as it may be stored: `kid:base64`."""
        return f"{self.active}:{base64.b64encode(self.encrypt(text.encode())).decode()}"

    def unseal(self, sealed: str) -> str:
        kid, _, body = sealed.partition(":")
        return self.decrypt(base64.b64decode(body), kid).decode()


class EncryptionCodec(PayloadCodec):
    """Seals every payload; opens what it sealed and lets pass what it did not."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Iterable[Payload]) -> list[Payload]:
        kid = self._keyring.active.encode()
        return [
            Payload(
                metadata={"encoding": ENCODING, "key-id": kid},
                data=self._keyring.encrypt(payload.SerializeToString()),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        return [self._open(payload) for payload in payloads]

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        kid = payload.metadata.get("key-id", b"").decode()
        return Payload.FromString(self._keyring.decrypt(payload.data, kid))


class SealedFailures(DefaultFailureConverterWithEncodedAttributes):
    """Seals what failures say, and their stacks; only a no to a message stays readable."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        super().to_failure(exception, payload_converter, failure)
        if words := _open_words(exception):
            failure.message = words
            failure.ClearField("encoded_attributes")


def _open_words(exception: BaseException) -> str:
    """Why a message was declined or could not be read; nothing of what it held."""
    if isinstance(exception, Declined):
        return exception.message
    cause = exception.__cause__
    if not isinstance(exception, RuntimeError) or not isinstance(cause, ValidationError):
        return ""
    error = cause.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in error["loc"]) or "the data"
    said = "is not valid" if error["type"] in _OWN_WORDS else error["msg"]
    return f"{where}: {said}"


def data_converter(keyring: Keyring | None) -> DataConverter:
    """Pydantic payloads, sealed where there is a keyring; so are failures."""
    if keyring is None:
        return pydantic_data_converter
    return dataclasses.replace(
        pydantic_data_converter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=SealedFailures,
    )

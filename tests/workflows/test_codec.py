"""What Temporal stores is sealed; a key may be rotated, and what was altered does not open."""

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from domain.errors import Invalid
from domain.orders import Address
from tests.workflows.story import Play
from workflows.codec import ENCODING, EncryptionCodec, Keyring

OLD, NEW = bytes(32), bytes(range(32))
PRIVATE = (b"Ada Nguyen", b"12 Oak St", b"ada@example.com")


async def test_no_history_holds_a_customers_name_in_the_clear(play: Play) -> None:
    address = Address(name="Ada Nguyen", line1="12 Oak St", country="US", postal_code="60601")
    async with play(ship_to=address, email="ada@example.com") as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.deliver()
        await story.end()
        history = await story.handle.fetch_history()

    stored = b"".join(event.SerializeToString() for event in history.events)
    assert ENCODING in stored
    assert not [word for word in PRIVATE if word in stored]


async def test_what_an_old_key_sealed_opens_beside_the_new_one() -> None:
    before = EncryptionCodec(Keyring({"old": OLD}, "old"))
    after = EncryptionCodec(Keyring({"old": OLD, "new": NEW}, "new"))
    [plain] = await pydantic_data_converter.encode([{"name": "Ada Nguyen"}])
    [sealed] = await before.encode([plain])
    assert (sealed.metadata["encoding"], sealed.metadata["key-id"]) == (ENCODING, b"old")
    assert b"Ada" not in sealed.SerializeToString()
    assert await after.decode([sealed]) == [plain]
    [again] = await after.encode([plain])
    assert again.metadata["key-id"] == b"new"
    with pytest.raises(Invalid, match="new"):
        await before.decode([again])
    assert await after.decode([plain]) == [plain]


async def test_what_was_altered_does_not_open() -> None:
    codec = EncryptionCodec(Keyring({"k": OLD}, "k"))
    [plain] = await pydantic_data_converter.encode(["secret"])
    [sealed] = await codec.encode([plain])
    sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    with pytest.raises(Invalid, match="altered"):
        await codec.decode([sealed])

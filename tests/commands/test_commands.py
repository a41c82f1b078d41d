"""Commands become bytes at the edge and come back the same; limits hold at the limit."""

from contextlib import suppress
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from kvraft.commands import (
    BATCH_HEADER_BYTES,
    BATCH_VERSION,
    KEY_BYTES_MAX,
    MUTATIONS,
    VALUE_BYTES_MAX,
    BoundSessions,
    Delete,
    Expire,
    Get,
    Guarded,
    Identify,
    InvalidCommand,
    KeepSession,
    Mutation,
    Once,
    OpenSession,
    RemoveExpired,
    Set,
    SetHistory,
    SetLeaseLimit,
    SetLockLimit,
    SetQuota,
    Transact,
    UnknownBatchVersion,
    UnknownOpcode,
    decode_batch,
    delete_key,
    encode_batch,
    get_key,
    set_key,
)
from kvraft.commands.blocks import Block
from kvraft.commands.client_sessions import Number
from kvraft.commands.held_keys import NewExpiry
from kvraft.commands.keys import When
from kvraft.commands.mutations import NumberedWrite
from kvraft.commands.strings import Presence
from tests.store.drawn import ANY_BLOCKS, ANY_TRANSACTIONS

TIME_MAX = 2**64 - 1
ARGUMENTS: dict[object, st.SearchStrategy[object]] = {
    bytes: st.binary(min_size=1, max_size=300),
    str: st.text(max_size=40),
    int: st.integers(0, TIME_MAX),
    Presence: st.sampled_from(Presence),
    When: st.sampled_from(When),
    NewExpiry: st.sampled_from(NewExpiry),
    list[bytes]: st.lists(st.binary(max_size=300), max_size=9),
    list[tuple[bytes, bytes]]: st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=9),
    Number: st.integers(1, TIME_MAX),
    bool: st.booleans(),
}
BELONG_TO_NO_SESSION = {
    BoundSessions,
    Identify,
    KeepSession,
    Once,
    OpenSession,
    RemoveExpired,
    SetHistory,
    SetLeaseLimit,
    SetLockLimit,
    SetQuota,
}
"""Commands that no client asks for, and those of sessions themselves."""


def draw_any(mutation: type[Mutation]) -> st.SearchStrategy[Mutation]:
    """Draw a mutation of a class by the types of its arguments."""
    if mutation is Transact:
        return ANY_TRANSACTIONS
    if mutation is Guarded:
        return st.builds(Guarded, ARGUMENTS[bytes], ARGUMENTS[int], ANY_TRANSACTIONS | draw_any(Expire))
    if mutation is Block:
        return ANY_BLOCKS
    if mutation is Once:
        writes = st.one_of([draw_any(each) for each in get_args(NumberedWrite)])
        return st.builds(Once, ARGUMENTS[Number], ARGUMENTS[Number], writes)
    types = [field.type if field.type in ARGUMENTS else get_args(field.type)[0] for field in fields(mutation)]
    return st.builds(mutation, *(ARGUMENTS[each] for each in types))


WRITES = st.one_of([draw_any(mutation) for mutation in MUTATIONS])
SIZES = st.sampled_from([0, 1, 255, 256, 65_535, 65_536])


def test_every_write_of_a_client_can_be_numbered() -> None:
    """A new command that writes has its place in `NumberedWrite` as well."""
    assert {*get_args(NumberedWrite)} == {*MUTATIONS} - BELONG_TO_NO_SESSION


@given(st.integers(0, TIME_MAX), st.lists(WRITES, max_size=20))
def test_a_batch_comes_back(time_us: int, writes: list[Mutation]) -> None:
    """What was encoded is decoded to the same mutations in the same order: the leader applies them without decoding."""
    assert decode_batch(encode_batch(time_us, writes)) == (time_us, writes)


@given(st.integers(0, TIME_MAX), st.lists(WRITES, max_size=20), SIZES, SIZES)
def test_no_batch_is_larger_than_its_sizes_say(time_us: int, writes: list[Mutation], key: int, value: int) -> None:
    """These bounds decide what is refused for its size, so that an entry that fits nowhere is never made."""
    batch = [*writes, Set(bytes(key), bytes(value)), Delete(bytes(key)), Identify("i" * value)]

    assert len(encode_batch(time_us, batch)) <= BATCH_HEADER_BYTES + sum(mutation.size for mutation in batch)


def test_a_batch_in_the_layout_of_earlier_versions_is_read() -> None:
    """They wrote the stamp and the number of mutations in a fixed width."""
    payload = (
        b"\x93\x01\xcf\x00\x00\x00\x00\x00\x00\x01\x02\xdd\x00\x00\x00\x02\x93\x01\xc4\x01k\xc4\x01v\x92\x02\xc4\x01k"
    )
    assert decode_batch(payload) == (258, [Set(b"k", b"v"), Delete(b"k")])


def test_the_layout_is_fixed() -> None:
    """The bytes of a batch stand on disks and never change for a version."""
    payload = encode_batch(258, [set_key(b"k", b"v"), delete_key(b"k"), Identify("id")])

    assert payload == (b"\x93\x01\xcd\x01\x02\x93\x93\x01\xc4\x01k\xc4\x01v\x92\x02\xc4\x01k\x92\x03\xa2id")
    assert msgspec.msgpack.decode(payload) == [BATCH_VERSION, 258, [[1, b"k", b"v"], [2, b"k"], [3, "id"]]]


def test_the_longest_key_and_value_pass() -> None:
    """A key and a value at their limits are taken, and come back."""
    key, value = b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX

    assert decode_batch(encode_batch(0, [set_key(key, value), delete_key(key)])) == (
        0,
        [Set(key, value), Delete(key)],
    )
    assert get_key(key) == Get(key)


@pytest.mark.parametrize("make", [lambda key: set_key(key, b""), delete_key, get_key])
def test_a_key_has_limits(make: object) -> None:
    """An empty key and one byte too many are refused, and the text names the limit."""
    assert callable(make)
    with pytest.raises(InvalidCommand, match="the key is empty"):
        make(b"")
    with pytest.raises(InvalidCommand, match=f"has {KEY_BYTES_MAX + 1} bytes; at most {KEY_BYTES_MAX}"):
        make(b"k" * (KEY_BYTES_MAX + 1))


def test_a_value_has_a_limit() -> None:
    """A value of one byte too many is refused, and the text names the limit."""
    with pytest.raises(InvalidCommand, match=f"has {VALUE_BYTES_MAX + 1} bytes; at most {VALUE_BYTES_MAX}"):
        set_key(b"k", b"v" * (VALUE_BYTES_MAX + 1))


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(payload: bytes) -> None:
    """Whatever stands in an entry, it is a batch or a ValueError, never anything else."""
    try:
        time_us, writes = decode_batch(payload)
    except ValueError:
        return
    assert isinstance(time_us, int)
    assert isinstance(writes, list)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_spoilt_byte_does_no_harm(place: int, byte: int) -> None:
    """A batch with one byte changed is decoded or refused as a ValueError."""
    payload = bytearray(encode_batch(77, [set_key(b"key", b"value"), delete_key(b"key"), Identify("id")]))
    payload[place % len(payload)] = byte

    with suppress(ValueError):
        decode_batch(bytes(payload))


def test_an_unknown_version_has_an_error_of_its_own() -> None:
    """A batch of another version has another error than a damaged one."""
    with pytest.raises(UnknownBatchVersion, match="version 2 is unknown to this kvraft; upgrade this node"):
        decode_batch(msgspec.msgpack.encode([2, {}, 0, 0, 0]))
    with pytest.raises(ValueError, match="truncated") as caught:
        decode_batch(encode_batch(0, [delete_key(b"k")])[:-1])
    assert not isinstance(caught.value, UnknownBatchVersion)


def test_an_unknown_command_in_a_block_needs_an_upgrade() -> None:
    """A later kvraft may let more commands stand in a block; a malformed one of today's is malformed."""
    for commands in ([[100, b"k"]], [[2, b"k"], [99]], [[6, [], [[77]], []]]):
        with pytest.raises(UnknownOpcode, match="upgrade this node"):
            decode_batch(msgspec.msgpack.encode([1, 0, [[33, [], commands]]]))
    with pytest.raises(ValueError, match="Expected"):
        decode_batch(msgspec.msgpack.encode([1, 0, [[33, [], [[2, 7]]]]]))

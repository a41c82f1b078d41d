"""Commands become bytes at the edge and come back the same; limits hold at the limit."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import (
    BATCH_VERSION,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    Delete,
    Get,
    Identify,
    InvalidCommand,
    Set,
    UnknownBatchVersion,
    decode_batch,
    encode_batch,
    encode_delete,
    encode_identify,
    encode_set,
    get,
)

TIME_MAX = 2**64 - 1
KEYS = st.binary(min_size=1, max_size=300)
WRITES = st.one_of(
    st.builds(Set, KEYS, st.binary(max_size=300)), st.builds(Delete, KEYS), st.builds(Identify, st.text(max_size=40))
)


def encode(write: Set | Delete | Identify) -> bytes:
    """Encode any write as its caller would."""
    match write:
        case Set(key, value):
            return encode_set(key, value)
        case Delete(key):
            return encode_delete(key)
        case Identify(cluster_id):
            return encode_identify(cluster_id)


@given(st.integers(0, TIME_MAX), st.lists(WRITES, max_size=20))
def test_a_batch_comes_back(time_us: int, writes: list[Set | Delete | Identify]) -> None:
    """What was encoded, one by one, and joined to a batch is decoded to the same writes in the same order."""
    assert decode_batch(encode_batch(time_us, [encode(write) for write in writes])) == (time_us, writes)


def test_the_layout_is_fixed() -> None:
    """The bytes of a batch stand on disks and never change for a version."""
    payload = encode_batch(258, [encode_set(b"k", b"v"), encode_delete(b"k"), encode_identify("id")])

    assert payload == (
        b"\x93\x01\xcf\x00\x00\x00\x00\x00\x00\x01\x02\xdd\x00\x00\x00\x03"
        b"\x93\x01\xc4\x01k\xc4\x01v"
        b"\x92\x02\xc4\x01k"
        b"\x92\x03\xa2id"
    )
    assert msgspec.msgpack.decode(payload) == [BATCH_VERSION, 258, [[1, b"k", b"v"], [2, b"k"], [3, "id"]]]


def test_the_longest_key_and_value_pass() -> None:
    """A key and a value at their limits are taken, and come back."""
    key, value = b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX

    assert decode_batch(encode_batch(0, [encode_set(key, value), encode_delete(key)])) == (
        0,
        [Set(key, value), Delete(key)],
    )
    assert get(key) == Get(key)


@pytest.mark.parametrize("make", [lambda key: encode_set(key, b""), encode_delete, get])
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
        encode_set(b"k", b"v" * (VALUE_BYTES_MAX + 1))


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
    payload = bytearray(encode_batch(77, [encode_set(b"key", b"value"), encode_delete(b"key"), encode_identify("id")]))
    payload[place % len(payload)] = byte

    with suppress(ValueError):
        decode_batch(bytes(payload))


def test_an_unknown_version_has_an_error_of_its_own() -> None:
    """A batch of another version is told apart from one that is damaged."""
    with pytest.raises(UnknownBatchVersion, match="version 2 is unknown to this kvraft; upgrade this node"):
        decode_batch(msgspec.msgpack.encode([2, {}, 0, 0, 0]))
    with pytest.raises(ValueError, match="truncated") as caught:
        decode_batch(encode_batch(0, [encode_delete(b"k")])[:-1])
    assert not isinstance(caught.value, UnknownBatchVersion)

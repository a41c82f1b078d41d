#!/bin/sh
# msgspec 0.23.0: a decoded value with a Raw field keeps the receive buffer from shrinking, and changes with it.
#
# A good guess: what decode() returns is independent of its input, as bytes, bytearray and str fields are, which are
# copied out of the buffer. Who knows that Raw is a view expects that it costs memory while it lives, and no more.
# What happens: a Raw field is a view of the very bytearray. While it lives, `del buffer[:n]` and clear() raise
# BufferError, far from the line that decoded; and new data written in place shows through in the old message.
# Why it matters: a protocol that takes frames off the front of one bytearray, and keeps an envelope with a Raw body in a
# queue, fails only when a message outlives its frame, that is under load. Decode from bytes(frame), or Raw.copy() first.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check msgspec==0.23.0
timeout 30 "$tmp/venv/bin/python" - <<'PY'
import sys

import msgspec


class Copied(msgspec.Struct):
    body: bytes


class Viewed(msgspec.Struct):
    body: msgspec.Raw


def shrink(buffer):
    try:
        del buffer[:1]
    except BufferError as error:
        return f"BufferError: {error}"
    return "done"


print(f"msgspec {msgspec.__version__}")
seen = []
for kind in Copied, Viewed:
    buffer = bytearray(msgspec.msgpack.encode({"body": b"old"}))
    message = msgspec.msgpack.decode(buffer, type=kind)
    buffer[-3:] = b"new"
    body = bytes(message.body)[-3:]
    alive = shrink(buffer)
    del message
    seen.append((body, alive.split(":")[0], shrink(buffer)))
    print(f"  {kind.__name__}: body after new data in the buffer {body}; del buffer[:1] {alive}; without the message {seen[-1][2]}")
sys.exit(seen != [(b"old", "done", "done"), (b"new", "BufferError", "done")])
PY

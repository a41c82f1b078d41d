#!/bin/sh
# hiredis 3.5.0 under redis-py 8.1.0: one RESP3 attribute gives every later caller the answer of the command before.
#
# A good guess: an attribute (type byte |) is data about the reply that follows it. RESP3 asks clients to keep it aside
# or to skip it, and a client that speaks HELLO 3 does one of the two, or raises an error.
# What happens: hiredis hands the attribute out as a reply of its own, a flat list. redis-py takes it for the answer, and
# the real answer stays in the buffer for the next command on that connection. No error is raised, now or later.
# Why it matters: a server may by the specification put an attribute before any reply, so it looks like a safe way to add
# a revision or a time to live. With this pair of libraries it gives readers the values of other keys. Send no attributes.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check hiredis==3.5.0 redis==8.1.0
timeout 30 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
import threading

import hiredis
import redis

ATTRIBUTE = b"|1\r\n$3\r\nttl\r\n:3600\r\n"


def serve(listener):
    """Answers GET with the key's own name, and puts an attribute before the first of these answers."""
    connection, _ = listener.accept()
    requests = connection.makefile("rb")
    attribute = ATTRIBUTE
    while header := requests.readline():
        words = []
        for _ in range(int(header[1:])):
            size = int(requests.readline()[1:])
            words.append(requests.read(size + 2)[:-2])
        if words[0].upper() == b"HELLO":
            connection.sendall(b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n")
        elif words[0].upper() == b"GET":
            connection.sendall(attribute + b"$%d\r\n%s\r\n" % (len(words[1]), words[1]))
            attribute = b""
        else:
            connection.sendall(b"+OK\r\n")


reader = hiredis.Reader()
reader.feed(ATTRIBUTE + b"$1\r\nv\r\n")
alone = [reader.gets(), reader.gets()]
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
client = redis.Redis(port=listener.getsockname()[1], protocol=3, socket_timeout=5)
got = {key: client.get(key) for key in ("a", "b", "c")}
print(f"hiredis {hiredis.__version__}, redis-py {redis.__version__}")
print(f"  one reply with an attribute, as read by hiredis: {alone}")
for key, answer in got.items():
    print(f"  GET {key}, where the server's answer is {key.encode()}: {answer}")
sys.exit(alone != [[b"ttl", 3600], b"v"] or list(got.values()) != [[b"ttl", 3600], b"a", b"b"])
PY

#!/bin/sh
# sseclient-py 1.9.0: when the stream ends in the middle of an event, the half that came is handed out as an event.
#
# A good guess: an event counts once its empty line has come. The standard says that what is incomplete at the end of the
# stream is discarded, so that the client gets the whole event again after it reconnects.
# What happens: the bytes that are left at the end are treated as one more event. A value that is cut to "12" of "1250" is
# delivered with the event's name and id, like any other; so is an event whose id has come and whose last line has not.
# httpx-sse 0.4.3, which reads the same bytes, gives only the event that is whole.
# Why it matters: a stream that has no chunks or length ends when the server dies, and the end looks clean. The client
# then applies a wrong value, and since it has the id, it asks to go on after it: the right value never comes. Send events
# whose end can be seen in the data (JSON objects do, numbers and plain text do not).
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check sseclient-py==1.9.0 requests==2.34.2 httpx==0.28.1 httpx-sse==0.4.3
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
import threading
from importlib.metadata import version

import httpx
import requests
from httpx_sse import EventSource
from sseclient import SSEClient

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
EVENTS = b"id: 7\nevent: put\ndata: 1000\n\nid: 8\nevent: put\ndata: 1250\n\n"
SENT = EVENTS[:-len(b"50\n\n")]


def serve(listener):
    """Each client gets the stream up to the middle of the second event, and then the connection ends."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD + SENT)


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
url = f"http://127.0.0.1:{listener.getsockname()[1]}/watch"
session = requests.Session()
session.trust_env = False
answer = session.get(url, stream=True, timeout=10)
first = [(event.id, event.event, event.data) for event in SSEClient(answer).events()]
with httpx.Client(trust_env=False, timeout=10) as client, client.stream("GET", url) as answer:
    second = [(event.id, event.event, event.data) for event in EventSource(answer).iter_sse()]
print(f"the server sends {SENT} and closes")
print(f"  sseclient-py {version('sseclient-py')}: {first}")
print(f"  httpx-sse {version('httpx-sse')}:    {second}")
whole = ("7", "put", "1000")
sys.exit((first, second) != ([whole, ("8", "put", "12")], [whole]))
PY

#!/bin/sh
# requests 2.34.2 with urllib3 2.8.0: a 102 that comes before the answer is taken for the answer, and counts as success.
#
# A good guess: an interim answer (102 Processing, 103 Early Hints) is skipped as 100 Continue is, and the caller gets the
# 409 or the 200 that follows. HTTP asks clients to read past interim answers, also those they do not know.
# What happens: of the codes from 100 to 199 the client skips 100 only. A PUT that the server answers with 102 and then 409
# comes back with status 102 and an empty body. raise_for_status() is content, and ok is True. httpx 0.28.1 gives the 409.
# Why it matters: 102 is what a server sends to keep a proxy from giving up while a write waits, for a quorum say. With
# this client every write that took long enough to be announced has succeeded, whatever became of it. Look for a status
# from 200 to 299, not for ok; a server for such clients must send no interim answer that was not asked for.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import platform
import socketserver
import sys
import threading
from importlib.metadata import version

import httpx
import requests

INTERIM = {"/none": b"", "/100": b"HTTP/1.1 100 Continue\r\n\r\n", "/102": b"HTTP/1.1 102 Processing\r\n\r\n",
           "/103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"}


class Store(socketserver.StreamRequestHandler):
    """Reads one PUT, sends an interim answer that its path names, and then refuses."""

    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        length = 0
        while (line := self.rfile.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.rfile.read(length)
        self.wfile.write(INTERIM[path])
        self.wfile.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}"
seen = {}
for path in INTERIM:
    answer = requests.put(url + path, data=b"value")
    other = httpx.put(url + path, content=b"value")
    seen[path] = (answer.status_code, answer.ok, answer.text), (other.status_code, other.is_success, other.text)
print(f"requests {version('requests')}, urllib3 {version('urllib3')}, Python {platform.python_version()}, "
      f"httpx {version('httpx')}; the answer is 409 'refused'")
for path, (answer, other) in seen.items():
    print(f"  interim {path[1:]}: requests (status, ok, text) {answer}, httpx {other}")
refused = (409, False, "refused")
sys.exit(list(seen.values()) != [(refused, refused), (refused, refused), ((102, True, ""), refused),
                                 ((103, True, ""), refused)])
PY

#!/bin/sh
# requests 2.34.2: a PUT that is answered with 301 is repeated at the new address as a PUT without its body.
#
# A good guess: 301 and 302 are treated alike. Either the method and the body are kept, or the request becomes a GET
# without a body, as browsers do it for POST; a PUT with the body left out is nobody's intention.
# What happens: of the methods other than HEAD, 302 and 303 make a GET of all, and 301 makes a GET only of POST. The
# body is dropped for all three. So the PUT of b"v" goes out a second time as a PUT of nothing, and the call returns the
# status of that: 200. The key now has an empty value.
# Why it matters: a follower or a proxy that sends writers to another address with 301 turns each write into one that
# empties the key, and raise_for_status() is content. 302 loses the write also, but as a read. A server that redirects
# writes must use 307 or 308, for which requests keeps both, even if all it does is to add a slash to the path.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

stored = {}
arrived = []


class Store(BaseHTTPRequestHandler):
    """PUT /NNN/key is answered with the status NNN and the address /key, which keeps what is put there."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.path.split("/")[1]
        arrived.append((self.command, body))
        self.send_response(int(status) if status.isdigit() else 200)
        if status.isdigit():
            self.send_header("Location", self.path.removeprefix(f"/{status}"))
        elif self.command == "PUT":
            stored[self.path] = body
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = answer

    def log_message(self, *words):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
session = requests.Session()
session.trust_env = False
seen = {}
print(f"requests {requests.__version__}: put(url, data=b'v')")
for status in 301, 302, 303, 307, 308:
    stored.clear()
    arrived.clear()
    answer = session.put(f"http://127.0.0.1:{server.server_port}/{status}/key", data=b"v", timeout=10)
    seen[status] = (answer.status_code, arrived[-1], stored.get("/key"))
    print(f"  {status}: the call returns {answer.status_code}, the second request was {arrived[-1]}, stored: {stored}")
session.close()
server.shutdown()
get, put = (200, ("GET", b""), None), (200, ("PUT", b"v"), b"v")
sys.exit(seen != {301: (200, ("PUT", b""), b""), 302: get, 303: get, 307: put, 308: put})
PY

#!/bin/sh
# requests-cache 1.3.3: after its own PUT of a URL, a session reads the old value from its cache, cache_control or not.
#
# A good guess: a write through the session removes what the session has stored for that URL. HTTP asks caches to do so
# after a PUT or DELETE that succeeded (RFC 9111, section 4.4), and cache_control=True says that the headers are obeyed.
# What happens: methods other than GET and HEAD pass by the cache and leave it as it is. get(), put(), get() gives the
# value from before the put() until max-age has run out; delete() is followed by a get() with status 200. CacheControl
# 0.14.4, the other cache for requests, asks the server again after both.
# Why it matters: read, change, write, read again is what a client of a store does, and here it does not see its own write.
# A compare-and-swap with the ETag works once: for the second the session reads the ETag from before its own first write
# and gets 412, until max-age has run out. Call session.cache.delete(urls=[url]) after each write. A store that sends
# max-age on values must expect readers that do not follow their own writes.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check requests-cache==1.3.3 requests==2.34.2 cachecontrol==0.14.4
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import requests
import requests_cache
from cachecontrol import CacheControl

values = {}


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, value=b""):
        self.send_response(status)
        if value:
            self.send_header("Cache-Control", "max-age=60")
            self.send_header("ETag", f'"{value.decode()}"')
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def do_GET(self):
        value = values.get(self.path, b"")
        self.reply(200 if value else 404, value)

    def do_PUT(self):
        values[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200)

    def do_DELETE(self):
        values.pop(self.path)
        self.reply(200)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/key"
sessions = {
    "requests-cache": requests_cache.CachedSession(backend="memory"),
    "requests-cache, cache_control=True": requests_cache.CachedSession(backend="memory", cache_control=True),
    "CacheControl": CacheControl(requests.Session()),
}
seen = {}
for name, session in sessions.items():
    values["/key"] = b"old"
    first = session.get(url).text
    session.put(url, data=b"new").raise_for_status()
    second = session.get(url).text
    session.delete(url).raise_for_status()
    seen[name] = first, second, session.get(url).status_code
values["/key"] = b"newer"
session = sessions["requests-cache"]
session.cache.delete(urls=[url])
mended = session.get(url).text
print(f"requests-cache {version('requests-cache')}, CacheControl {version('cachecontrol')}, requests {version('requests')}")
for name, (first, second, status) in seen.items():
    print(f"  {name}: get: {first}, after put of 'new': {second}, after delete: status {status}")
print(f"  requests-cache after session.cache.delete(): {mended}")
sys.exit((list(seen.values()), mended)
         != ([("old", "old", 200), ("old", "old", 200), ("old", "new", 404)], "newer"))
PY

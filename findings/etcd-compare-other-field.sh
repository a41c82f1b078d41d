#!/bin/sh
# etcd 3.4.23, JSON gateway: a compare whose number is in another target's field is compared with zero, without an error.
#
# A good guess: {"target": "MOD", "result": "GREATER", "version": "999"} is refused, since the target and the field of
# the number disagree, or the number is taken as it stands. Fields of a wrong type are refused with status 400, after all.
# What happens: the field is known, so it parses; the server then reads the field of the target, which is not set and
# counts as 0. The key's mod_revision of 3 is greater than 0, so "greater than 999" succeeds and the writes are done.
# EQUAL is false for every key that exists, whatever the number, and true for every key that does not.
# Why it matters: the target and the field are two places that a client must fill alike. One that changes only the
# target has a compare-and-swap that swaps always or never, with status 200. A store that speaks this API must do the
# same to be compatible, and its tests must use numbers for which both readings differ.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
timeout 90 python3 - <<'PY'
import base64
import json
import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


clients, peers = free_port(), free_port()
url, peer_url = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with opener.open(url + path, data, timeout=5) as reply:
        return json.load(reply)


def wait_for_server(seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if call("/health")["health"] == "true":
                return call("/version")["etcdserver"]
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("etcd did not start")


def b64(text):
    return base64.b64encode(text.encode()).decode()


def succeeds(key, result, **number):
    compare = {"key": b64(key), "target": "MOD", "result": result, **number}
    return call("/v3/kv/txn", {"compare": [compare]}).get("succeeded", False)


server = subprocess.Popen(
    ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
     "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    release = wait_for_server()
    for _ in range(2):
        call("/v3/kv/put", {"key": b64("k"), "value": b64("v")})
    seen = {
        "k:    MOD GREATER, mod_revision 999": succeeds("k", "GREATER", mod_revision="999"),
        "k:    MOD GREATER, version 999": succeeds("k", "GREATER", version="999"),
        "k:    MOD EQUAL, mod_revision 3": succeeds("k", "EQUAL", mod_revision="3"),
        "k:    MOD EQUAL, version 3": succeeds("k", "EQUAL", version="3"),
        "k:    MOD EQUAL, version 2": succeeds("k", "EQUAL", version="2"),
        "none: MOD EQUAL, version 999": succeeds("none", "EQUAL", version="999"),
    }
finally:
    server.terminate()
    server.wait(20)
print(f"etcd {release}; key k has mod_revision 3 and version 2, key none does not exist")
for question, answer in seen.items():
    print(f"  {question}: succeeded {answer}")
sys.exit(list(seen.values()) != [False, True, True, False, False, True])
PY

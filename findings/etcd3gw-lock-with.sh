#!/bin/sh
# etcd3gw 2.7.0 with etcd 3.4.23: `with client.lock(name)` runs its body while another client holds the lock.
#
# A good guess: the with statement of a lock waits until the lock is free, as threading.Lock, kazoo and redis-py do, or
# raises when it cannot have it.
# What happens: it tries once. When another client holds the lock it neither waits nor raises, and the body runs without
# the lock. Only is_acquired() inside the body tells, and asks the server.
# Why it matters: code moved from another lock client looks the same, works in every test with one process, and excludes
# nobody. Call acquire() and look at what it returns. A store that offers locks to such clients cannot see the mistake.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check etcd3gw==2.7.0
timeout 90 "$tmp/venv/bin/python" - <<'PY'
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import etcd3gw


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("etcd did not start")


clients, peers = free_port(), free_port()
url, peer_url = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
server = subprocess.Popen(
    ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
     "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    wait_for(clients)
    first = etcd3gw.client(host="127.0.0.1", port=clients)
    second = etcd3gw.client(host="127.0.0.1", port=clients)
    lock = first.lock("job", ttl=60)
    taken = lock.acquire()
    entered = False
    began = time.monotonic()
    with second.lock("job", ttl=60) as other:
        entered = True
        waited = time.monotonic() - began
        mine, theirs = other.is_acquired(), lock.is_acquired()
finally:
    server.terminate()
    server.wait(20)
print(f"etcd3gw {version('etcd3gw')}, etcd 3.4.23")
print(f"  first client acquired: {taken}; still holds it while the second is in its with body: {theirs}")
print(f"  second client: body entered {entered}, after a wait of {waited:.1f} s, holds the lock: {mine}")
sys.exit((taken, theirs, entered, mine) != (True, True, True, False))
PY

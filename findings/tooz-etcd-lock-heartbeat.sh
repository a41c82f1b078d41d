#!/bin/sh
# tooz 9.1.0 with etcd 3.4.23: heartbeat() of a lock is True although the lock has run out and another client has it.
#
# A good guess: heartbeat() of a lock, documented to tell whether it could renew it, is False when there is nothing left
# to renew, and acquired is False from then on. And asking for a lock that one has is refused and changes nothing.
# What happens: heartbeat() asks etcd to renew the lease, does not look at the answer, and returns True. acquired stays
# True too, also after release() has returned False. And each acquire() takes a new lease for the lock object before it
# asks for the lock: after a refused acquire(blocking=False) by the holder itself, the heartbeats renew that lease, and
# the one that the lock has runs out while the holder beats in time. None of it is documented, and no report was found.
# Why it matters: a pause longer than the timeout is what the heartbeat is there to notice. The program goes on with
# True from the call that was made to ask, and two clients work under one lock. Ask etcd itself for the owner before
# each write, or write in a transaction that compares the lock's key. A renewal that finds no lease is not a success.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check tooz==9.1.0 etcd3gw==2.7.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import subprocess
import sys
import time
from importlib.metadata import version

from tooz import coordination

TIMEOUT = 2


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


def client(name):
    started = coordination.get_coordinator(f"etcd3+http://127.0.0.1:{clients}?lock_timeout={TIMEOUT}", name)
    started.start()
    return started


def beat(lock):
    for _ in range(4 * TIMEOUT):
        time.sleep(0.5)
        lock.heartbeat()


def look():
    first, second = client(b"first"), client(b"second")
    mine, other = first.get_lock(b"job"), second.get_lock(b"job")
    seen = {"first.acquire()": mine.acquire()}
    time.sleep(2 * TIMEOUT)
    seen["after a pause, second.acquire(blocking=False)"] = other.acquire(blocking=False)
    seen["then first.heartbeat()"] = mine.heartbeat()
    seen["      first.acquired"] = mine.acquired
    seen["      first.release()"] = mine.release()
    seen["      first.acquired after that"] = mine.acquired
    other.release()
    for name in b"asked once", b"asked twice":
        mine, other = first.get_lock(name), second.get_lock(name)
        asked = [mine.acquire()]
        if name == b"asked twice":
            asked.append(mine.acquire(blocking=False))
        beat(mine)
        call = f"first.acquire() {asked}, heartbeats in time, second.acquire(blocking=False)"
        seen[call] = other.acquire(blocking=False)
    return seen


clients, peers = free_port(), free_port()
url, peer_url = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
server = subprocess.Popen(
    ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
     "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    wait_for(clients)
    seen = look()
finally:
    server.terminate()
    server.wait(20)
print(f"tooz {version('tooz')}, etcd3gw {version('etcd3gw')}, etcd 3.4.23; locks with a timeout of {TIMEOUT} s")
for call, answer in seen.items():
    print(f"  {call}: {answer}")
sys.exit(list(seen.values()) != [True, True, True, True, False, True, False, True])
PY

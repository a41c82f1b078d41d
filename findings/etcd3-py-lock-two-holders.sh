#!/bin/sh
# etcd3-py 0.1.6 with etcd 3.4.23: of two clients that wait for a lock both get it when it is released.
#
# A good guess: when a lock becomes free, one of those that wait for it has it next, and the others go on waiting. etcd
# has transactions for just that: write the key if it is not there.
# What happens: acquire() waits until the key of the lock is deleted, and then writes it in a transaction. The
# condition is only whether the value is its own already; if not, the key is written, whoever has it. All that wait see
# the deletion, and each writes the key over that of the one before. All acquire() calls return, and all with bodies
# run at once. is_acquired is False for all but the last, for those who ask.
# Why it matters: with two clients the lock works, since only one waits. With three it fails at each release, under the
# load for which the lock was made. No error is raised, and when the bodies end, release() raises none either. Use a
# client whose condition is "the key does not exist", or make that transaction yourself. The wait for a lock is a hint
# and never a reason to have it: only the conditional write decides, and a test needs three clients.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check etcd3-py==0.1.6
timeout 60 "$tmp/venv/bin/python" -W ignore - <<'PY'
import collections
import collections.abc
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.metadata import version

collections.Hashable = collections.abc.Hashable  # the package is older than Python 3.10, which moved the name
from etcd3 import Client  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/version", timeout=1) as answer:
                if json.load(answer)["etcdcluster"].startswith("3."):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("etcd did not start")


def at_once(waiting):
    """How many of the waiting clients run the body of one lock at the same time, and which still have it then."""
    inside, together, having, guard = [], [0], [], threading.Lock()

    def work(name):
        lock = Client("127.0.0.1", clients).Lock(f"job of {waiting}", lock_ttl=30)
        with lock:
            with guard:
                inside.append(name)
                together[0] = max(together[0], len(inside))
            time.sleep(2)
            with guard:
                having.append(bool(lock.is_acquired))
            time.sleep(1)
            with guard:
                inside.remove(name)

    first = Client("127.0.0.1", clients).Lock(f"job of {waiting}", lock_ttl=30)
    first.acquire()
    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(waiting)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    before = len(inside)
    first.release()
    for thread in threads:
        thread.join(15)
    return before, together[0], sorted(having)


clients, peers = free_port(), free_port()
url, peer_url = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
server = subprocess.Popen(
    ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
     "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    wait_for(url)
    seen = {waiting: at_once(waiting) for waiting in (1, 2)}
finally:
    server.terminate()
    server.wait(20)
print(f"etcd3-py {version('etcd3-py')}, etcd 3.4.23; one client holds a lock and releases it")
for waiting, (before, together, having) in seen.items():
    print(f"  {waiting} waiting: {before} in the body before the release, {together} at once after it; "
          f"is_acquired {having}")
sys.exit(seen != {1: (0, 1, [True]), 2: (0, 2, [False, True])})
PY

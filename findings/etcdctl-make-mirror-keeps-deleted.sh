#!/bin/sh
# etcdctl 3.4.23: make-mirror, started again, leaves what was deleted meanwhile, and keys with a lease stay for good.
#
# A good guess: after a restart, make-mirror brings the destination to the state of the source and then follows it. A
# key that is gone in the source is gone in the mirror.
# What happens: at its start it writes every key that the source has. It does not look at what the destination has, so a
# key that was deleted while make-mirror was not running stays there, with its old value. Later deletions are followed.
# Keys are written without their leases: a key with a lease goes away in the mirror only if make-mirror sees it go in
# the source. 3.4.23 has no option to begin at an earlier revision.
# Why it matters: the mirror is for the day on which the source is lost, and that day it holds services that were taken
# out, locks that were released and old settings, as alive as the others. It goes on copying, so it looks well. After
# each pause delete the prefix in the destination first, or compare both sides. A copy needs a way to say "and nothing
# else", and leases must be copied with what they end.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4
for package in etcd-server_*.deb etcd-client_*.deb; do
    dpkg -x "$package" "$tmp/etcd"
done
timeout 60 python3 - <<'PY'
import os
import socket
import subprocess
import sys
import time

ENVIRONMENT = {**os.environ, "ETCDCTL_API": "3"}


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


class Etcd:
    def __init__(self, data):
        self.port, peers = free_port(), free_port()
        url, peer_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        self.server = subprocess.Popen(
            ["etcd/usr/bin/etcd", "--data-dir", data, "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster",
             f"default={peer_url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.port)

    def command(self, *arguments):
        return ["etcd/usr/bin/etcdctl", f"--endpoints=http://127.0.0.1:{self.port}", *arguments]

    def ctl(self, *arguments):
        return subprocess.run(self.command(*arguments), env=ENVIRONMENT, check=True, capture_output=True, text=True,
                              timeout=10).stdout

    def keys(self):
        return self.ctl("get", "", "--prefix", "--keys-only").split()

    def close(self):
        self.server.terminate()
        self.server.wait(20)


class Mirror:
    """make-mirror while the block runs: from when the destination has the first marker to when it has the last."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        source.ctl("put", f"marker/{self.number}", "begin")
        self.process = subprocess.Popen(source.command("make-mirror", "--no-dest-prefix", f"127.0.0.1:{mirror.port}"),
                                        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait("begin")

    def __exit__(self, *_):
        source.ctl("put", f"marker/{self.number}", "end")
        self.wait("end")
        self.process.terminate()
        self.process.wait(10)

    def wait(self, value):
        for _ in range(100):
            if mirror.ctl("get", f"marker/{self.number}", "--print-value-only").strip() == value:
                return
            time.sleep(0.1)
        raise SystemExit("the mirror does not follow")


def real(etcd):
    return [key for key in etcd.keys() if not key.startswith("marker/")]


source, mirror = Etcd("source"), Etcd("mirror")
try:
    lease = source.ctl("lease", "grant", "3600").split()[1]
    for key in "kept", "deleted-while-running", "deleted-in-the-pause":
        source.ctl("put", key, "value")
    source.ctl("put", "leased", "value", f"--lease={lease}")
    with Mirror(1):
        source.ctl("del", "deleted-while-running")
    leases = {name: lease in etcd.ctl("lease", "list") for name, etcd in (("source", source), ("mirror", mirror))}
    source.ctl("del", "deleted-in-the-pause")
    source.ctl("lease", "revoke", lease)
    with Mirror(2):
        source.ctl("put", "new", "value")
    seen = real(source), real(mirror)
finally:
    source.close()
    mirror.close()
print("etcdctl 3.4.23: a key deleted and a lease revoked while make-mirror was not running, then make-mirror again")
print(f"  in the source: {seen[0]}")
print(f"  in the mirror: {seen[1]}")
print(f"  the lease was there before it was revoked: {leases}")
sys.exit((seen, leases) != ((["kept", "new"], ["deleted-in-the-pause", "kept", "leased", "new"]),
                            {"source": True, "mirror": False}))
PY

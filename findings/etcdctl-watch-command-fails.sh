#!/bin/sh
# etcdctl 3.4.23: "watch key -- command" ends at the first change for which the command exits with another status than 0.
#
# A good guess: the command is run for each change, like the action of a file watcher. Its failure is reported, and the
# watch goes on to the next change.
# What happens: the failure is printed, and etcdctl itself exits with status 1. The changes that were already on their way
# are not handled, and those that follow find nobody. The status 3 of the command becomes 1.
# Why it matters: a grep without a match, or a service that cannot be reloaded for a moment, stops the watcher of a
# configuration for good. If a supervisor starts it again it begins at the current revision, so the changes in between
# are lost: keep ETCD_WATCH_REVISION and start with --rev, and end the command with "|| true" if the watch shall go on.
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

HANDLER = 'printf "%s\\n" "$ETCD_WATCH_VALUE"; test "$ETCD_WATCH_VALUE" != \'"bad"\' || exit 3'


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
environment = {**os.environ, "ETCDCTL_API": "3"}
etcdctl = ["etcd/usr/bin/etcdctl", f"--endpoints={url}"]


def put(value):
    subprocess.run([*etcdctl, "put", "key", value], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=10)


def watch(handler):
    """The values that the handler prints for four changes, and the status of etcdctl if it has ended by then."""
    put("before")
    arguments = ["watch", "key", "--rev=1", "--", "sh", "-c", handler]
    with open("output", "w+") as output, open("errors", "w+") as errors:
        watcher = subprocess.Popen([*etcdctl, *arguments], env=environment, stdout=output, stderr=errors)
        try:
            for value in "one", "bad", "two", "three":
                put(value)
            status = watcher.wait(4)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            watcher.terminate()
            watcher.wait(10)
        output.seek(0)
        errors.seek(0)
        printed = [line.strip('"\n') for line in output if line.startswith('"')]
        return printed, status, errors.read().strip()


def run(data, handler):
    server = subprocess.Popen(
        ["etcd/usr/bin/etcd", "--data-dir", data, "--listen-client-urls", url, "--advertise-client-urls",
         url, "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
         "--initial-cluster", f"default={peer_url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(clients)
        return watch(handler)
    finally:
        server.terminate()
        server.wait(20)


failing = run("data1", HANDLER)
tolerant = run("data2", f"( {HANDLER} ) || true")
print("etcdctl 3.4.23: the command prints each value, and exits with 3 for \"bad\"")
print(f"  as it is:       printed {failing[0]}, etcdctl ended with {failing[1]}")
print(f"                  {failing[2]}")
print(f"  with \"|| true\": printed {tolerant[0]}, etcdctl ended with {tolerant[1]}")
every = ["before", "one", "bad", "two", "three"]
sys.exit((failing[:2], tolerant[:2]) != ((["before", "one", "bad"], 1), (every, None)))
PY

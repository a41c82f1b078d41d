#!/bin/sh
# etcd3gw 2.7.0: a watch that has ended, because of a compaction or because etcd is gone, waits for ever without an error.
#
# A good guess: client.watch(key, start_revision=...) on a compacted revision raises, since etcd says so in its answer;
# and when etcd stops, the loop over the events raises a connection error or ends, as get() and put() raise one.
# What happens: etcd answers "canceled" with the compact_revision, and the client skips this message as it has no events.
# When the connection ends, the thread that reads it ends too, with its exception dropped, and the loop stays blocked
# on an empty queue. After a restart of etcd on the same address the loop sees nothing of the writes that follow.
# Why it matters: watchers that resume from the last revision that they saw meet both, a restart of their member and a compaction
# while they were away. A cache that is fed by such a loop serves old values for ever, and no time-out or health check of
# the client shows it. Read at intervals beside the watch, and compare revisions.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check etcd3gw==2.7.0
timeout 90 "$tmp/venv/bin/python" - <<'PY'
import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import etcd3gw
import requests


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(client_port, peer_port):
    url, peer_url = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    server = subprocess.Popen(
        ["etcd/usr/bin/etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url,
         "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
         "--initial-cluster", f"default={peer_url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if requests.get(f"{url}/health", timeout=1).json() == {"health": "true"}:
                return server
        except requests.RequestException:
            time.sleep(0.1)
    server.kill()
    raise SystemExit("etcd did not start")


class Watching:
    """A loop over the events of a key, in a thread."""

    def __init__(self, client, **options):
        self.values, self.ended = [], None
        events, _ = client.watch("key", **options)
        self.thread = threading.Thread(target=self.loop, args=(events,), daemon=True)
        self.thread.start()

    def loop(self, events):
        try:
            for event in events:
                self.values.append(event["kv"]["value"].decode())
            self.ended = "the loop ended"
        except Exception as error:
            self.ended = repr(error)

    def __str__(self):
        return f"values {self.values}, " + ("still waiting" if self.thread.is_alive() else str(self.ended))


ports = free_port(), free_port()
server = start(*ports)
try:
    client = etcd3gw.client(host="127.0.0.1", port=ports[0])
    for number in range(5):
        client.put("key", f"old{number}")
    compacted = int(client.status()["header"]["revision"])
    url = f"http://127.0.0.1:{ports[0]}/v3"
    requests.post(f"{url}/kv/compaction", json={"revision": compacted}, timeout=5).raise_for_status()
    watch = {"create_request": {"key": base64.b64encode(b"key").decode(), "start_revision": 2}}
    with requests.post(f"{url}/watch", json=watch, stream=True, timeout=5) as raw:
        lines = raw.iter_lines(chunk_size=1)
        said = [json.loads(next(lines))["result"] for _ in range(2)]
    past, present = Watching(client, start_revision=2), Watching(client)
    client.put("key", "new")
    time.sleep(2)
    print(f"etcd3gw {version('etcd3gw')}, etcd 3.4.23")
    print(f"  etcd on a watch from a compacted revision: {[{k: v for k, v in m.items() if k != 'header'} for m in said]}")
    print(f"  etcd3gw on the same, after a put: {past}")
    print(f"  etcd3gw on a watch from now:      {present}")
    server.terminate()
    server.wait(20)
    time.sleep(3)
    try:
        client.get("key")
        refused = "no error"
    except Exception as error:
        refused = type(error).__name__
    print(f"  etcd stopped: get() raises {refused}; the watch: {present}")
    server = start(*ports)
    client.put("key", "after")
    time.sleep(2)
    stored = client.get("key")[0].decode()
    print(f"  etcd started again, get() gives {stored!r}; the watch: {present}")
finally:
    server.terminate()
    server.wait(20)
as_stated = (said[1].get("canceled") is True and refused == "ConnectionFailedError" and stored == "after"
             and (past.values, past.thread.is_alive()) == ([], True)
             and (present.values, present.thread.is_alive()) == (["new"], True))
sys.stdout.flush()
os._exit(not as_stated)
PY

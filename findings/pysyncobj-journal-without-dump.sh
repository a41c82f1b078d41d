#!/bin/sh
# PySyncObj 0.3.17: a node with a journal file and no dump file loses everything at the first log compaction.
#
# A good guess: SyncObjConf(journalFile=...) alone makes a node durable. The journal holds every committed entry, the
# setting is accepted without a warning, and a restart does bring all of them back.
# What happens: compaction is always on (5,000 entries or 300 seconds by default). Without fullDumpFile its snapshot goes
# to memory only, and then the entries that it covers are deleted from the journal on disk. Nothing durable is left: after
# the next restart the node comes up empty. A test that restarts before the first compaction passes.
# Why it matters: who builds on a log must know where its prefix went before it is cut, and who tests durability must
# restart once after a compaction, not only before it. Give journalFile and fullDumpFile together.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pysyncobj==0.3.17
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
import time

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict
from pysyncobj.version import VERSION

KEYS = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(address, **files):
    values = ReplDict()
    conf = SyncObjConf(autoTick=False, logCompactionMinTime=3600, **files)
    return SyncObj(address, [], conf, consumers=[values]), values


def tick(node, done, seconds):
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        node.doTick(0.02)
    return done()


def kept_after_restart(name, compact, **files):
    """Writes KEYS keys to a cluster of one, perhaps compacts, restarts it, and counts the keys it still has."""
    address = f"127.0.0.1:{free_port()}"
    node, values = start(address, journalFile=f"{name}.journal", **files)
    assert tick(node, node.isReady, 10)
    for number in range(KEYS):
        values.set(f"key{number}", number)
    assert tick(node, lambda: len(values.rawData()) == KEYS, 10)
    if compact:
        node.forceLogCompaction()
        assert tick(node, lambda: node.getStatus()["log_len"] < KEYS, 10)
    node.destroy()
    node.doTick(0)
    node, values = start(address, journalFile=f"{name}.journal", **files)
    tick(node, lambda: len(values.rawData()) == KEYS, 5)
    kept = len(values.rawData())
    node.destroy()
    node.doTick(0)
    return kept


plain = kept_after_restart("plain", compact=False)
compacted = kept_after_restart("compacted", compact=True)
dumped = kept_after_restart("dumped", compact=True, fullDumpFile="dumped.dump")
print(f"pysyncobj {VERSION}: keys of {KEYS} after a restart")
print(f"  journal, no compaction:       {plain}")
print(f"  journal, compacted once:      {compacted}")
print(f"  journal and dump, compacted:  {dumped}")
sys.exit((plain, compacted, dumped) != (KEYS, 0, KEYS))
PY

#!/bin/sh
# pycrdt 0.14.13 with yjs 13.6.33 (npm): integers are read back as floats, and large ones make JavaScript peers throw.
#
# A good guess: shared["version"] = 7 reads back as 7, as a string and a bool do. An integer that fits into 64 bits is an
# integer for every peer.
# What happens: an integer below 2**53 is written as a float and read as 7.0, also by the program that wrote it, while
# 2**53 and more are read as int. For a peer with yjs an integer above 2**53, such as time.time_ns(), is a BigInt:
# JSON.stringify() of the document throws, and so does value + 1. The documentation of pycrdt does not say it; that of
# the libraries below is that numbers are those of JavaScript, which was discussed in their issues.
# Why it matters: f"job-{version}" becomes "job-7.0", a key that nobody else uses, items[index] raises, and JSON written
# from the document has 7.0. The other way, one time in nanoseconds that a Python peer writes stops each browser that
# saves or shows the document, and as the value is replicated, restarting does not help. Convert with int() when
# reading, and write numbers above 2**53 as text.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pycrdt==0.14.13
npm install --silent --no-audit --no-fund --prefix "$tmp" yjs@13.6.33
cat >"$tmp/peer.mjs" <<'JS'
import { readFileSync } from "node:fs";
import * as Y from "yjs";

const doc = new Y.Doc();
Y.applyUpdate(doc, readFileSync("update"));
const shared = doc.getMap("shared");
const outcome = (call) => {
  try {
    return String(call());
  } catch (error) {
    return `throws ${error.name}`;
  }
};
const seen = {
  types: ["version", "time"].map((key) => typeof shared.get(key)).join(" and "),
  sums: ["version", "time"].map((key) => outcome(() => shared.get(key) + 1)).join(" and "),
  json: outcome(() => JSON.stringify(shared)),
};
console.log(JSON.stringify(seen));
JS
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pycrdt import Doc, Map

doc = Doc()
shared = doc.get("shared", type=Map)
shared["version"] = 7
shared["limit"] = 2**53
shared["time"] = 1_790_000_000_123_456_789
read = [shared[key] for key in ("version", "limit", "time")]
Path("update").write_bytes(doc.get_update())
peer = json.loads(subprocess.run(["node", "peer.mjs"], capture_output=True, text=True, check=True).stdout)
yjs = json.loads(Path("node_modules/yjs/package.json").read_text())["version"]
print(f"pycrdt {version('pycrdt')}, yjs {yjs}; version = 7, limit = 2**53, time = 1790000000123456789")
print(f"  read in Python: {read}; the name of the job: job-{shared['version']}")
print(f"  a peer with yjs: version and time are {peer['types']}; plus 1: {peer['sums']}; as JSON: {peer['json']}")
sys.exit((list(map(repr, read)), peer) != (
    ["7.0", "9007199254740992", "1790000000123456789"],
    {"types": "number and bigint", "sums": "8 and throws TypeError", "json": "throws TypeError"}))
PY

#!/bin/sh
# msgpack 1.2.4: a file that was cut in the middle of an object reads as a shorter file that is whole.
#
# A good guess: "for record in Unpacker(file)" raises an error when the file ends within a record, as unpackb() does for
# the same bytes and as load() of pickle and cbor2 does at the same place.
# What happens: an Unpacker waits for more bytes, and the end of the file is to it the same as bytes that have not come
# yet. The loop ends without an error after the last record that is whole, wherever the cut is: after the first byte of
# a record or before its last. unpack() raises OutOfData both at a clean end and at a cut. tell() is no help: it counts
# parts of the record that is cut, and can be at the end of the file. decodeMultiStream() of @msgpack/msgpack 3.1.3 in
# JavaScript ends in silence too.
# Why it matters: a copy that stopped, a full disk or a crash leaves such files. A snapshot is then read with its last
# part missing and is served, copied on and written again as the whole. For a log it hides whether its end was lost.
# Write the number of records or a checksum into the file, or one array around them and read it with unpackb().
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" @msgpack/msgpack@3.1.3
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check msgpack==1.2.4 cbor2==6.3.0
cat >"$tmp/count.mjs" <<'JS'
import { createReadStream } from "node:fs";
import { decodeMultiStream } from "@msgpack/msgpack";

let records = 0;
try {
  for await (const _ of decodeMultiStream(createReadStream(process.argv[2]))) records += 1;
  console.log(records);
} catch (error) {
  console.log(`${records}, then ${error.name}`);
}
JS
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import io
import pickle
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cbor2
import msgpack

RECORDS = [{"key": f"key {number}", "value": "x" * 20} for number in range(3)]


def all_of(load):
    """Loads from a file up to its end, for packages whose load() takes one object."""
    def records(file):
        size = Path(file.name).stat().st_size
        while file.tell() < size:
            yield load(file)
    return records


def count(records, file):
    number = 0
    try:
        for _ in records(file):
            number += 1
    except Exception as error:
        return f"{number}, then {type(error).__name__}"
    return str(number)


def look(name, dump, records, cut):
    data = b"".join(map(dump, RECORDS))
    path = Path(f"{name}.{cut}")
    path.write_bytes(data[:len(data) - cut])
    with path.open("rb", buffering=0) as file:
        return count(records, file)


last = len(msgpack.packb(RECORDS[-1]))
cuts = [0, 1, 10, last - 1, last]
seen = {"msgpack": [look("msgpack", msgpack.packb, msgpack.Unpacker, cut) for cut in cuts]}
seen["@msgpack/msgpack 3.1.3"] = [
    subprocess.check_output(["node", "count.mjs", f"msgpack.{cut}"], text=True).strip() for cut in cuts]
seen["pickle"] = [look("pickle", pickle.dumps, all_of(pickle.load), cut) for cut in cuts[:3]]
seen["cbor2"] = [look("cbor2", cbor2.dumps, all_of(cbor2.load), cut) for cut in cuts[:3]]
print(f"msgpack {version('msgpack')}, cbor2 {version('cbor2')}; records read of a file with three, the last cut by some bytes")
for name, counts in seen.items():
    print(f"  {name}: " + "; ".join(f"{cut} bytes less: {found}" for cut, found in zip(cuts, counts)))
data = b"".join(map(msgpack.packb, RECORDS))[:-21]
unpacker = msgpack.Unpacker(io.BytesIO(data))
whole, position = len(list(unpacker)), unpacker.tell()
try:
    unpacker.unpack()
    after = "an object"
except msgpack.OutOfData:
    after = "OutOfData"
print(f"  msgpack, 21 bytes less: {whole} records in {len(data)} bytes, tell() {position}, unpack() then: {after}")
silent = ["3", "2", "2", "2", "2"]
sys.exit(list(seen.values())[:2] != [silent, silent] or (whole, position, after) != (2, len(data), "OutOfData") or any(
    counts[0] != "3" or not all(found.startswith("2, then ") for found in counts[1:])
    for counts in (seen["pickle"], seen["cbor2"])))
PY

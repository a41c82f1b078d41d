#!/bin/sh
# notepack.io 3.0.1 (npm): whole numbers of 2**64 and more are written as their last 64 bits, so that 1e300 becomes 0.
#
# A good guess: JavaScript has one kind of number, so a number that fits no integer of MessagePack is written as a float
# of 64 bits, which holds each of them. If not that, encode() raises, as it does for a BigInt.
# What happens: a number without a fraction is written as an integer whatever its size, and of one that needs more than
# 64 bits the upper ones are lost: 1e20 becomes 7766279631452241920. -1e20 is wrong in the same way, and -(2**63) - 2048
# comes out above zero. No error is raised. Numbers with a fraction, and infinity, are floats and right. msgpackr and
# @msgpack/msgpack give 1e300 back.
# Why it matters: sums of squares, products, nanoseconds times a count and the start values of a search for the smallest
# (1e300, Number.MAX_VALUE) are such numbers. A smallest value that starts at 0 never changes. With the sizes of a test
# nothing shows. Send them as text, or use another encoder; a serialiser tests its types at their bounds.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" notepack.io@3.0.1 msgpackr@2.1.4 @msgpack/msgpack@3.1.3
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check msgpack==1.2.4
cat >"$tmp/show.mjs" <<'JS'
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import * as official from "@msgpack/msgpack";
import * as msgpackr from "msgpackr";
import notepack from "notepack.io";

const numbers = [2 ** 53, 1e19, 2 ** 64, 1e20, -1e20, -(2 ** 63) - 2048, 1e300, Number.MAX_VALUE, 1e15 + 0.5, Infinity];
const READ = "import msgpack, sys; print(repr(msgpack.unpackb(sys.stdin.buffer.read())))";
const inPython = (data) => execFileSync("venv/bin/python", ["-c", READ], { input: data }).toString().trim();
const { version } = JSON.parse(readFileSync("node_modules/notepack.io/package.json"));
console.log(`notepack.io ${version} (npm); written, read again, read by msgpack for Python`);
const wrong = [];
for (const number of numbers) {
  const data = notepack.encode(number);
  const read = notepack.decode(data);
  console.log(`  ${number}: ${read}, ${inPython(data)}${read === number ? "" : "  <- differs"}`);
  if (read !== number) wrong.push(`${number}`);
}
const zero = inPython(notepack.encode(1e300));
const others = [msgpackr.unpack(msgpackr.pack(1e300)), official.decode(official.encode(1e300))];
console.log(`  1e300 with msgpackr and @msgpack/msgpack: ${others}`);
const stated = [2 ** 64, 1e20, -1e20, -(2 ** 63) - 2048, 1e300, Number.MAX_VALUE].map(String);
process.exit(wrong.join() === stated.join() && zero === "0" && others.every((one) => one === 1e300) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

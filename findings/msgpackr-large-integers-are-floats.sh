#!/bin/sh
# msgpackr 2.1.4 (npm): an integer of 2**32 or more is written as a float, and so reaches Python as 5000000000.0.
#
# A good guess: MessagePack has integers of 64 bits, so 5000000000 is written as one. 3.0 may come out as 3, since
# JavaScript has one kind of number; the other way round there is nothing to lose.
# What happens: only numbers that fit into 32 bits are written as integers. From 2**32 on, and below -2**31, they are
# floats of 64 bits. JavaScript reads them back as the same numbers. @msgpack/msgpack 3.1.3 writes integers for all of
# these. A BigInt is written as an integer by msgpackr too.
# Why it matters: milliseconds since 1970, revisions and ids made of time are of that size. In Python f"job:{id}" is
# then "job:5000000000.0", a key that nobody wrote; range() and struct refuse it, JSON sends it on with ".0", and a
# schema that asks for an int may refuse it. Small numbers in tests are integers. Write what is an integer as BigInt, or
# convert it on reading. A format between languages needs tests with numbers on both sides of 2**31, 2**32 and 2**53.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" msgpackr@2.1.4 @msgpack/msgpack@3.1.3
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check msgpack==1.2.4
cat >"$tmp/read.py" <<'PY'
import sys

import msgpack

for text in sys.argv[1:]:
    number = msgpack.unpackb(bytes.fromhex(text))
    print(f"job:{number}")
PY
cat >"$tmp/show.mjs" <<'JS'
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { encode } from "@msgpack/msgpack";
import { pack, unpack } from "msgpackr";

const numbers = [4294967295, 4294967296, 5000000000, -2147483648, -2147483649, 1893456000000, 5000000000n];
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const python = (texts) => execFileSync("venv/bin/python", ["read.py", ...texts]).toString().trim().split("\n");
const back = numbers.every((number) => Number(unpack(pack(number))) === Number(number));
const byMsgpackr = python(numbers.map((number) => hex(pack(number))));
const byMsgpack = python(numbers.slice(0, -1).map((number) => hex(encode(number))));
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`msgpackr ${version("msgpackr")}, @msgpack/msgpack ${version("@msgpack/msgpack")}, read by msgpack 1.2.4 of Python`);
numbers.forEach((number, place) => console.log(`  ${typeof number} ${number}: msgpackr ${byMsgpackr[place]}` +
  `${byMsgpack[place] ? `, @msgpack/msgpack ${byMsgpack[place]}` : ""}`));
console.log(`  read back by msgpackr they are equal: ${back}`);
const whole = numbers.map((number) => `job:${number}`);
const expected = whole.map((text, place) => ([1, 2, 4, 5].includes(place) ? `${text}.0` : text));
const asStated = back && byMsgpackr.join() === expected.join() && byMsgpack.join() === whole.slice(0, -1).join();
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

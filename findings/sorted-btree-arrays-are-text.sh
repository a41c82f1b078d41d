#!/bin/sh
# sorted-btree 2.1.0 (npm): keys that are arrays are ordered as text: [10] comes before [9], and ranges are too short.
#
# A good guess: the README lists "arrays of numbers/strings" among the keys that work without a comparator of one's own.
# Arrays are the usual composite keys, and are compared part by part, as tuples of Python and keys of IndexedDB are.
# What happens: arrays are compared with < and >, and JavaScript makes a text of each for that, with commas. [10] is
# before [9], and ["a", 10] before ["a", 9]. A range from ["a", 2] to ["a", 20] has ["a", 2] and neither 9, 10 nor 11.
# ["a", "b"] and ["a,b"] are one key, so that the second set() overwrites the first. The typings warn of equal keys,
# with [1] and ["1"], and say nothing of the order.
# Why it matters: numbers of one digit are right, and so are those of one length, as years are. The first wrong order is
# that of entry 10, and with time stamps that of the day on which they get a digit more. A range query then gives too
# little without an error. Give a comparator that goes part by part. A library for sorted keys that takes composite ones
# has to say how they are ordered.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" sorted-btree@2.1.0
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import sortedBTree from "sorted-btree";

const BTree = sortedBTree.default;
const parts = (a, b) => {
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
  }
  return a.length - b.length;
};

function look(compare) {
  const entries = new BTree(undefined, compare);
  for (const number of [1, 2, 9, 10, 11, 100]) entries.set(["a", number], number);
  const numbers = entries.valuesArray();
  const range = entries.getRange(["a", 2], ["a", 20]).map(([, number]) => number);
  const names = new BTree(undefined, compare);
  names.set(["a", "b"], "first");
  names.set(["a,b"], "second");
  return [numbers, range, names.size, names.get(["a", "b"])];
}

const { version } = JSON.parse(readFileSync("node_modules/sorted-btree/package.json"));
console.log(`sorted-btree ${version} (npm), keys ["a", 1], ["a", 2] and so on`);
const seen = [look(), look(parts)];
for (const [at, [numbers, range, size, first]] of seen.entries()) {
  console.log(`  ${at ? "compared part by part" : "without a comparator"}: ${numbers}; from 2 to 20: ${range}`);
  console.log(`    ["a", "b"] and ["a,b"]: ${size} entries, ["a", "b"] reads "${first}"`);
}
const stated = [
  [[1, 10, 100, 11, 2, 9], [2], 1, "second"],
  [[1, 2, 9, 10, 11, 100], [2, 9, 10, 11], 2, "first"],
];
process.exit(JSON.stringify(seen) === JSON.stringify(stated) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

#!/bin/sh
# heap-js 2.7.1 (npm): a heap with a limit of 2 to which 6, 5, 4, 3, 2 and 1 are pushed holds 1 and 6.
#
# A good guess: a heap with a limit keeps as many of the smallest elements (of the largest, with the other comparator), so
# that a long stream goes through it in little memory and the best few are left. init() of an array does that.
# What happens: after each push what stands beyond the limit in the array of the heap is cut off. That is one of its
# leaves: the smallest element is always kept, and which others are depends on the order. With pushes in falling order
# the largest stays for ever, and each new smallest one pushes out the one before. addAll() adds some first, and cuts
# then, with a third result. toArray(), top() and pop() give what is left as if nothing were missing.
# Why it matters: "the ten nearest", "the ten next timers", "the best hundred of a million" are right in a test with rising
# numbers, and are mostly wrong with others. Keep a heap with the opposite comparator, and pop() when it is longer than
# wanted. In a heap only the root is known; the others are in no order that a cut could respect.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" heap-js@2.7.1
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { Heap } from "heap-js";

function limited(fill) {
  const heap = new Heap();
  heap.limit = 2;
  fill(heap);
  return heap.top(2).sort();
}

const version = JSON.parse(readFileSync("node_modules/heap-js/package.json")).version;
console.log(`heap-js ${version}; what a heap with a limit of 2 holds of some numbers`);
const seen = [];
for (const numbers of [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [5, 1, 4, 0]]) {
  const pushed = limited((heap) => numbers.forEach((number) => heap.push(number)));
  const together = limited((heap) => heap.addAll(numbers));
  const begun = limited((heap) => heap.init([...numbers]));
  console.log(`  ${numbers}: push() ${pushed}; addAll() ${together}; init() ${begun}`);
  seen.push([pushed, together, begun]);
}
const expected = "[[[1,2],[1,2],[1,2]],[[1,6],[1,3],[1,2]],[[0,5],[0,1],[0,1]]]";
process.exitCode = JSON.stringify(seen) === expected ? 0 : 1;
JS
timeout 60 node "$tmp/show.mjs"

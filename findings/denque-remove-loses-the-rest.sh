#!/bin/sh
# denque 2.1.0 (npm): remove(1, 2) of a queue to which entries were also added in front makes the rest of it undefined.
#
# A good guess: remove(index, count) of a double-ended queue takes those entries out, as splice() of an array does, and
# leaves the others as they are.
# What happens: the entries lie in a ring, which unshift() makes begin near the end of the storage. To close the gap,
# remove() copies what follows from there, and does not go round at the end of the storage: it reads beyond it. With
# eight entries pushed and four put in front, remove(1, 2) gives the right two, the length is right, and the eight
# pushed ones are undefined. With 300 and 100, 300 are lost. splice() with a count of two does the same. removeOne() is
# right, and so is a queue that was only pushed to. No error is raised.
# Why it matters: jobs are pushed behind, those to be tried again are put in front, and cancelled ones are taken out:
# that is what such a queue is for. A test with five entries, or without unshift(), passes. The package is below
# clients of databases and queues. Take out one entry at a time with removeOne(), from the last to the first. A ring
# needs tests that start at each position of its storage.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" denque@2.1.0
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import Denque from "denque";

// A queue with entries pushed and entries put in front, and an array of the same; what is in each after a change.
function look(pushed, inFront, change, same) {
  const queue = new Denque();
  const array = [];
  for (let number = 0; number < pushed; number += 1) {
    queue.push(`p${number}`);
    array.push(`p${number}`);
  }
  for (let number = 0; number < inFront; number += 1) {
    queue.unshift(`f${number}`);
    array.unshift(`f${number}`);
  }
  const taken = change(queue);
  same(array);
  return { taken, length: queue.length === array.length, left: queue.toArray(), expected: array };
}

const removeTwo = (queue) => queue.remove(1, 2);
const spliceTwo = (queue) => queue.splice(1, 2, "new");
const oneByOne = (queue) => [queue.removeOne(2), queue.removeOne(1)];
const cases = [
  ["remove(1, 2)", 8, 4, removeTwo, (array) => array.splice(1, 2)],
  ['splice(1, 2, "new")', 8, 4, spliceTwo, (array) => array.splice(1, 2, "new")],
  ["remove(1, 2)", 300, 100, removeTwo, (array) => array.splice(1, 2)],
  ["remove(1, 2)", 12, 0, removeTwo, (array) => array.splice(1, 2)],
  ["removeOne(2), removeOne(1)", 8, 4, oneByOne, (array) => array.splice(1, 2)],
];
const { version } = JSON.parse(readFileSync("node_modules/denque/package.json"));
console.log(`denque ${version} (npm)`);
const lost = cases.map(([name, pushed, inFront, change, same]) => {
  const { taken, length, left, expected } = look(pushed, inFront, change, same);
  const gone = left.filter((entry) => entry === undefined).length;
  const kept = left.every((entry, at) => entry === undefined || entry === expected[at]);
  console.log(`  ${pushed} pushed, ${inFront} in front, ${name}: took ${taken}, length right: ${length}, ${gone} lost`);
  if (pushed === 8) console.log(`    left: ${left.map(String)}`);
  return length && kept ? gone : "differs";
});
process.exit(lost.join() === "8,8,300,0,0" ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

#!/bin/sh
# js-sdsl 4.4.2 (npm): eraseElementByPos(1) of a Deque takes out the last element and has the one at 2 twice.
#
# A good guess: eraseElementByPos() takes out the element at the position, as the same method of Vector does, and those
# behind it move up by one.
# What happens: 0 1 2 3 4 5 6 7 without position 1 becomes 0 2 2 3 4 5 6: the 2 is there twice, and the 7, which nobody
# named, is gone. The loop that moves the elements up reads the one behind the erased one each time.
# eraseElementByIterator() does the same. Only the first position and the last two are right, so that a Deque of three
# is. The size is right, and no error is raised. (LinkList of the package: when unique() has taken out the last element,
# what is pushed afterwards is counted and is not found from the front.)
# Why it matters: a queue from which a job is cancelled then runs the next job twice and never the last, and there are
# as many as there should be. A test that looks at the size, at the erased element or at a short queue passes. Take out
# by value with eraseElementByValue() where values are unique, or use Vector. To test such a class, do the same steps to
# an array and compare all of it after each.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" js-sdsl@4.4.2
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import sdsl from "js-sdsl";

const numbers = Array.from({ length: 8 }, (_, number) => number);
function left(Container, erase) {
  const container = new Container(numbers);
  erase(container);
  const found = [];
  container.forEach((number) => found.push(number));
  return found.join(" ");
}

const byPosition = (container) => container.eraseElementByPos(1);
const byIterator = (container) => {
  const second = container.begin();
  second.next();
  container.eraseElementByIterator(second);
};
const byValue = (container) => container.eraseElementByValue(1);
const right = numbers.map((at) => {
  const expected = numbers.filter((number) => number !== at).join(" ");
  return left(sdsl.Deque, (container) => container.eraseElementByPos(at)) === expected;
});
const { version } = JSON.parse(readFileSync("node_modules/js-sdsl/package.json"));
const seen = {
  "Deque, eraseElementByPos(1)": left(sdsl.Deque, byPosition),
  "Deque, eraseElementByIterator() of the second": left(sdsl.Deque, byIterator),
  "Deque, eraseElementByValue(1)": left(sdsl.Deque, byValue),
  "Vector, eraseElementByPos(1)": left(sdsl.Vector, byPosition),
};
const list = new sdsl.LinkList([1, 3, 3]);
list.unique();
list.pushBack(4);
const listed = [...list].join(" ");
console.log(`js-sdsl ${version} (npm), 0 1 2 3 4 5 6 7 without the 1`);
for (const [name, found] of Object.entries(seen)) console.log(`  ${name}: ${found}`);
console.log(`  positions of the Deque that are erased rightly: ${numbers.filter((at) => right[at])}`);
console.log(`  LinkList 1 3 3 after unique() and pushBack(4): ${listed}; size ${list.size()}, back ${list.back()}`);
const doubled = "0 2 2 3 4 5 6";
const expected = "0 2 3 4 5 6 7";
const stated = [doubled, doubled, expected, expected, "0,6,7", "1 3", 3, 4];
const got = [...Object.values(seen), numbers.filter((at) => right[at]).join(), listed, list.size(), list.back()];
process.exit(got.join(";") === stated.join(";") ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

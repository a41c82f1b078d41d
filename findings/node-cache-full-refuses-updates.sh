#!/bin/sh
# node-cache 5.1.2 (npm): with maxKeys reached, a key that is there cannot be set again, and keeps its old value.
#
# A good guess: the limit is one of keys, so a set() of a key that is there is let through; the documentation says that an
# error is thrown if a new item is set. And keys whose time is over do not count.
# What happens: set() counts the keys before it looks whether this is one of them, and throws ECACHEFULL. mset() of one
# known key throws, too. ttl(), which only moves the time of a key, works. Keys whose time is over count until the next
# round of the timer (600 s by default), or until somebody asks for them.
# Why it matters: a cache that is full of live keys cannot be updated. Where the error is caught, since a value that is not
# cached does no harm, every reader gets old values until their time is over; a counter stands still. Call del() before
# set(). A limit has to tell an update from an insertion, and to look at what has expired before it refuses.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" node-cache@5.1.2
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import NodeCache from "node-cache";

function attempt(change) {
  try {
    return change();
  } catch (error) {
    return error.name;
  }
}

const version = JSON.parse(readFileSync("node_modules/node-cache/package.json")).version;
const full = new NodeCache({ maxKeys: 1 });
full.set("key", "old");
const seen = {
  "set() of the key that is there": attempt(() => full.set("key", "new")),
  "mset() of it": attempt(() => full.mset([{ key: "key", val: "new" }])),
  "ttl() of it": attempt(() => full.ttl("key", 60)),
  "its value": full.get("key"),
};
const expired = new NodeCache({ maxKeys: 1 });
expired.set("key", "old", 0.05);
await sleep(200);
seen["set() beside a key whose time is over"] = attempt(() => expired.set("other", "new"));
seen["get() of that key"] = expired.get("key") ?? "nothing";
seen["set() after that"] = attempt(() => expired.set("other", "new"));
console.log(`node-cache ${version}, with at most one key`);
for (const [what, result] of Object.entries(seen)) {
  console.log(`  ${what}: ${result}`);
}
const expected = ["ECACHEFULL", "ECACHEFULL", true, "old", "ECACHEFULL", "nothing", true];
process.exit(JSON.stringify(Object.values(seen)) === JSON.stringify(expected) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

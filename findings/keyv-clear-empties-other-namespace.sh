#!/bin/sh
# keyv 5.6.0 (npm): of two namespaces in one Map, clear() of one empties both, and iterator() of one lists the other.
#
# A good guess: namespaces keep the keys of two parts of a program apart in one store. The manual says of them that they
# "allow you to clear only a certain namespace while using the same database".
# What happens: get(), set() and delete() put the namespace before the key and are right. clear() calls that of the Map,
# so it takes everything. iterator() goes by a name that is noted on the Map, and the Keyv that was made last has noted
# its own: the ones before it list the keys of that one. A key that begins with the namespace is taken for one that has
# it already, so that "users:7" and "7" of the namespace "users" are one. No error is raised.
# Why it matters: a Map is what tests and small services have, beside a database with an adapter for each part. Emptying
# the cache of pages logs everybody out. Give each Keyv a Map of its own, and each an adapter object of its own as well.
# Where a prefix makes namespaces, all calls must apply it, also those that name no key.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" keyv@5.6.0
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { Keyv } from "keyv";

const store = new Map();
const users = new Keyv({ store, namespace: "users" });
const pages = new Keyv({ store, namespace: "pages" });
async function keys(keyv) {
  const found = [];
  for await (const [key] of keyv.iterator()) found.push(key);
  return found;
}

await users.set("7", "the user");
await pages.set("7", "the page");
const seen = {
  "get() of each": [await users.get("7"), await pages.get("7")],
  "in the Map": [...store.keys()],
};
await pages.set("start", "a page");
seen["iterator() of users, with pages 7 and start"] = await keys(users);
await users.set("users:7", "another user");
seen['user 7 after setting "users:7"'] = await users.get("7");
await pages.clear();
seen["user 7 after clear() of pages"] = await users.get("7") ?? "gone";
seen["left in the Map"] = store.size;
const { version } = JSON.parse(readFileSync("node_modules/keyv/package.json"));
console.log(`keyv ${version} (npm), two namespaces in one Map`);
for (const [name, value] of Object.entries(seen)) console.log(`  ${name}: ${JSON.stringify(value)}`);
const stated = [
  ["the user", "the page"], ["users:7", "pages:7"], ["7", "start"], "another user", "gone", 0,
];
process.exit(JSON.stringify(Object.values(seen)) === JSON.stringify(stated) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

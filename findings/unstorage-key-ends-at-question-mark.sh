#!/bin/sh
# unstorage 1.17.6 (npm): what follows a question mark in a key is cut off, so "users?page=1" and "users?page=2" are
# one.
#
# A good guess: a key is a text, and two texts that differ are two keys. Slashes may be turned into the colons that the
# manual uses, so that "a/b" and "a:b" are the same.
# What happens: each key is cut at its first question mark, slashes and backslashes become colons, and several in a row
# become one. The second setItem() overwrites the first, hasItem() is true for a page that was never stored, and
# removeItem() of one page removes all. getKeys() shows what is left of the keys. Seen with the
# driver for memory. No error is raised.
# Why it matters: who keeps answers of other servers in it has a key at hand, the URL of the request. Each page, each search and each user of "profile?id=" is then given the answer that was stored last. A
# test with one URL passes. Encode the key or take a digest of it. A store that changes keys on their way in should do
# so without making two keys one, or refuse those that it cannot keep.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" unstorage@1.17.6
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { createStorage } from "unstorage";

const storage = createStorage();
const url = (page) => `https://example.org/users?page=${page}`;
await storage.setItem(url(1), "first page");
await storage.setItem(url(2), "second page");
const seen = {
  "page 1 reads": await storage.getItem(url(1)),
  "page 3, never stored, exists": await storage.hasItem(url(3)),
  "keys": await storage.getKeys(),
};
await storage.removeItem(url(3));
seen["keys after removing page 3"] = await storage.getKeys();
await storage.setItem("why", "kept");
await storage.setItem("why?", "overwritten");
seen['"why" after setting "why?"'] = await storage.getItem("why");
const { version } = JSON.parse(readFileSync("node_modules/unstorage/package.json"));
console.log(`unstorage ${version} (npm), in memory; pages 1 and 2 stored`);
for (const [name, value] of Object.entries(seen)) console.log(`  ${name}: ${JSON.stringify(value)}`);
const stated = ["second page", true, ["https:example.org:users"], [], "overwritten"];
process.exit(JSON.stringify(Object.values(seen)) === JSON.stringify(stated) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

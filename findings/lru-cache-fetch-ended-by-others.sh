#!/bin/sh
# lru-cache 11.5.3 (npm): a fetch() is rejected when somebody sets the key meanwhile, or fetches other keys.
#
# A good guess: fetch(key) gives what fetchMethod loads. When the value loaded cannot be kept, since the cache is full
# or a newer value was set, it is not kept, and the caller has it, or has the newer one.
# What happens: a fetch in progress takes a place in the cache. set() of the key, delete(), and an eviction abort it,
# and the promise is rejected with an Error "replaced", "deleted" or "evicted", although the loader has gone on and has
# its value. Of four fetches at once with max 2 the first two fail each time. After the set(), get() has the value that
# the rejected fetch() might have given. With ignoreFetchAbort all four are answered.
# Why it matters: max is chosen for memory, and is met by the number of keys that are asked for at once on the day of
# the most load: then requests fail that did not before, and the store is asked in vain. A write by one part of a
# program makes a read by another fail. The messages do not say what happened. Set ignoreFetchAbort: true where the
# loader takes no AbortSignal. A cache should turn a lack of room into misses, never into errors.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" lru-cache@11.5.3
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { LRUCache } from "lru-cache";

const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

async function look(options) {
  let loaded = 0;
  const fetchMethod = async (key) => {
    await sleep(50);
    loaded += 1;
    return `loaded ${key}`;
  };
  const outcome = (promise) => promise.catch((error) => `rejected: ${error.message}`);
  const small = new LRUCache({ max: 2, fetchMethod, ...options });
  const four = await Promise.all(["a", "b", "c", "d"].map((key) => outcome(small.fetch(key))));
  const loads = loaded;
  const large = new LRUCache({ max: 10, fetchMethod, ...options });
  const fetched = outcome(large.fetch("key"));
  large.set("key", "set meanwhile");
  const deleted = outcome(large.fetch("other"));
  large.delete("other");
  await sleep(100);
  return [four, loads, await fetched, large.get("key"), await deleted];
}

const { version } = JSON.parse(readFileSync("node_modules/lru-cache/package.json"));
console.log(`lru-cache ${version} (npm)`);
const seen = [await look({}), await look({ ignoreFetchAbort: true })];
for (const [at, [four, loads, fetched, kept, deleted]] of seen.entries()) {
  console.log(`  ${at ? "ignoreFetchAbort" : "by default"}, four keys at once with max 2: ${loads} loaded`);
  console.log(`    ${four.join(", ")}`);
  console.log(`    set() during fetch(): ${fetched}, get() then: ${kept}; delete() during fetch(): ${deleted}`);
}
const answers = ["a", "b", "c", "d"].map((key) => `loaded ${key}`);
const stated = [
  [["rejected: evicted", "rejected: evicted", ...answers.slice(2)], 4, "rejected: replaced", "set meanwhile",
    "rejected: deleted"],
  [answers, 4, "loaded key", "set meanwhile", "loaded other"],
];
process.exit(JSON.stringify(seen) === JSON.stringify(stated) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

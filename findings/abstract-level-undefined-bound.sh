#!/bin/sh
# abstract-level 3.1.1 (npm): a bound that is undefined is the text "undefined", so a first page begins at the letter u.
#
# A good guess: { gt: undefined } is the same as no bound, as an option that is undefined is for nearly every function
# of JavaScript, { limit: undefined } of the same call among them. Or a bound of a wrong type is refused, as undefined
# is as a key.
# What happens: the bound is encoded like a key, and the encoding makes text of it. keys({ gt: undefined }) gives the
# keys after "undefined", keys({ lt: undefined }) those before it, and null is "null". No error is raised, in
# memory-level as in classic-level. clear({ lt: undefined }) deletes the keys up to that point.
# Why it matters: a loop over pages begins with a cursor that is not set yet. keys({ gt: cursor, limit: 100 }) then
# leaves out every key from a to t, and test data with keys such as "user1" shows nothing of it. A clean-up with a limit
# that was not configured deletes most of the store in place of nothing or an error. Leave the property out when there
# is no bound. An interface of a store should refuse a bound that it would not take as a key.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" memory-level@3.1.0 classic-level@3.0.0 abstract-level@3.1.1
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { ClassicLevel } from "classic-level";
import { MemoryLevel } from "memory-level";

const names = ["alice", "peter", "victor", "zoe"];
const outcome = async (call) => {
  try {
    return (await call()).join(" ") || "nothing";
  } catch (error) {
    return error.code;
  }
};

async function look(db) {
  await db.batch(names.map((key) => ({ type: "put", key, value: "value" })));
  const seen = {};
  for (const options of [{}, { limit: undefined }, { gt: undefined }, { gte: null }, { lt: undefined }]) {
    const [[name, value] = []] = Object.entries(options);
    seen[`keys({ ${name ? `${name}: ${value} ` : ""}})`] = await outcome(() => db.keys(options).all());
  }
  seen["put(undefined, …)"] = await outcome(() => db.put(undefined, "value"));
  await db.clear({ lt: undefined });
  seen["keys() after clear({ lt: undefined })"] = await outcome(() => db.keys().all());
  await db.close();
  return seen;
}

const seen = [await look(new MemoryLevel()), await look(new ClassicLevel("store"))];
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`abstract-level ${version("abstract-level")}, memory-level ${version("memory-level")}, ` +
  `classic-level ${version("classic-level")}; keys: ${names.join(" ")}`);
for (const [call, keys] of Object.entries(seen[0])) console.log(`  ${call}: ${keys}`);
const expected = ["alice peter victor zoe", "alice peter victor zoe", "victor zoe", "peter victor zoe", "alice peter",
  "LEVEL_INVALID_KEY", "victor zoe"];
const asStated = seen.every((one) => JSON.stringify(Object.values(one)) === JSON.stringify(expected));
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

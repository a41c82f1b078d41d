#!/bin/sh
# rate-limiter-flexible 11.4.0, memory-cache 0.2.0, expiry-map 2.0.0 (npm): thirty days are a millisecond.
#
# A good guess: a limit of two a month refuses the third request in a month, and a value that is put for thirty days is
# there the next minute. The READMEs of the three name no upper bound.
# What happens: the three packages hand the time to setTimeout(), which takes at most 2**31 - 1 milliseconds, 24.8 days.
# What is longer is taken as one millisecond, and Node.js writes a warning to its standard error that names none of them.
# The counter is deleted by then, so that nothing is refused, and the value is gone. With 20 days all is as expected.
# Why it matters: quotas by the month and tokens for thirty days are common, and the tests of them use seconds. A limiter
# that never refuses looks like a quiet day. Keep the end of the time as a number and compare it when the entry is read,
# and let a timer only clean up; or set it again in steps of a day at most.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" rate-limiter-flexible@11.4.0 memory-cache@0.2.0 expiry-map@2.0.0
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import ExpiryMap from "expiry-map";
import memoryCache from "memory-cache";
import limiters from "rate-limiter-flexible";

const DAY = 24 * 3600;
const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
const warnings = [];
process.on("warning", (warning) => warnings.push(warning.name));

async function look(days) {
  const limiter = new limiters.RateLimiterMemory({ points: 2, duration: days * DAY });
  const answers = [];
  for (let hit = 0; hit < 4; hit += 1) {
    answers.push(await limiter.consume("client").then(() => "passes", () => "refused"));
    await sleep(20);
  }
  memoryCache.put("key", "value", days * DAY * 1000);
  const map = new ExpiryMap(days * DAY * 1000);
  map.set("key", "value");
  await sleep(20);
  return [answers.join(), memoryCache.get("key") ?? "gone", map.get("key") ?? "gone"];
}

const month = await look(30);
const shorter = await look(20);
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
for (const [days, [hits, cached, mapped]] of [[20, shorter], [30, month]]) {
  console.log(`${days} days, 20 milliseconds later`);
  console.log(`  rate-limiter-flexible ${version("rate-limiter-flexible")}, 2 points: ${hits}`);
  console.log(`  memory-cache ${version("memory-cache")}: ${cached}; expiry-map ${version("expiry-map")}: ${mapped}`);
}
console.log(`warnings: ${[...new Set(warnings)]}`);
const stated = ["passes,passes,refused,refused", "value", "value", "passes,passes,passes,passes", "gone", "gone"];
process.exit([...shorter, ...month].join(";") === stated.join(";") ? 0 : 1);
JS
timeout 60 node --no-warnings "$tmp/show.mjs"

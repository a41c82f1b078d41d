#!/bin/sh
# async-lock 1.5.0, p-queue 9.3.5, bottleneck 2.19.5 (npm): a job whose time is up loses its place and goes on running.
#
# A good guess: the time limit rejects the promise of the caller, since JavaScript cannot stop a function. The lock is
# held, and the place is taken, until the function has ended: one at a time is what these packages are for.
# What happens: maxExecutionTime of async-lock, timeout of p-queue and expiration of bottleneck let the next job in at
# once. Three tries with a limit of 50 ms for a job of one second have three jobs inside the lock, or in a queue with a
# concurrency of 1. maxOccupationTime of async-lock rejects in the same way and keeps the lock, so there is one inside.
# Why it matters: a store that is slow for a moment makes the calls run into the limit, and then each retry reads and
# writes beside the one before it: with read, change and write inside the lock, updates are lost just under load, and
# the load grows. Give the function an AbortSignal and let it end before its lock does. A lease in a store has the same
# gap: what is written under it needs a number that the store checks.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" async-lock@1.5.0 p-queue@9.3.5 bottleneck@2.19.5
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import AsyncLock from "async-lock";
import Bottleneck from "bottleneck";
import PQueue from "p-queue";

const LIMIT = 50;
const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

async function look(run) {
  let [inside, most, rejected] = [0, 0, 0];
  const job = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await sleep(20 * LIMIT);
    inside -= 1;
  };
  for (let tries = 0; tries < 3; tries += 1) await run(job).catch(() => { rejected += 1; });
  do await sleep(LIMIT); while (inside > 0);
  return { rejected, most };
}

const execution = new AsyncLock({ maxExecutionTime: LIMIT });
const occupation = new AsyncLock({ maxOccupationTime: LIMIT });
const queue = new PQueue({ concurrency: 1, timeout: LIMIT });
const limiter = new Bottleneck({ maxConcurrent: 1 });
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
const seen = {
  [`async-lock ${version("async-lock")}, maxExecutionTime`]: await look((job) => execution.acquire("key", job)),
  [`async-lock ${version("async-lock")}, maxOccupationTime`]: await look((job) => occupation.acquire("key", job)),
  [`p-queue ${version("p-queue")}, timeout`]: await look((job) => queue.add(job)),
  [`bottleneck ${version("bottleneck")}, expiration`]: await look((job) => limiter.schedule({ expiration: LIMIT }, job)),
};
console.log(`one place, a limit of ${LIMIT} ms, three tries one after the other with a job of ${20 * LIMIT} ms`);
for (const [name, { rejected, most }] of Object.entries(seen)) {
  console.log(`  ${name}: ${rejected} rejected, at most ${most} running at a time`);
}
const most = Object.values(seen).map((one) => one.most).join();
process.exit(most === "3,1,3,3" && Object.values(seen).every((one) => one.rejected === 3) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

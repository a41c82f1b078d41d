// Sessions of ioredis, by Sentinel and as Cluster; see redis_session.py. `node redis_session.mjs PORT PORT PORT`
import { createRequire } from "node:module";

const require = createRequire(process.env.IOREDIS_FOLDER + "/");
const Redis = require("ioredis");
const PAUSE_MS = 100;
const FAILOVER_MS = 15000;
const nodes = process.argv.slice(2).map((port) => ({ host: "127.0.0.1", port: Number(port) }));
let finished = false;
process.stdin.on("end", () => (finished = true)).resume();

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

async function insist(attempt) {
  const until = Date.now() + FAILOVER_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > until) throw error;
      await pause();
    }
  }
}

async function converse(name, client) {
  client.on("error", () => {});
  let written = 0;
  while (!finished) {
    await insist(() => client.set(`${name}:${written}`, String(written)));
    written += 1;
    console.log(`${name} ok`);
    await pause();
  }
  let found = 0;
  for (let number = 0; number < written; number++) {
    if ((await insist(() => client.get(`${name}:${number}`))) === String(number)) found += 1;
  }
  console.log(`${name} read ${found} of ${written}`);
  client.disconnect();
}

await Promise.all([
  converse("ioredis", new Redis({ sentinels: nodes, name: "mymaster" })),
  converse("ioredis_cluster", new Redis.Cluster(nodes)),
]);

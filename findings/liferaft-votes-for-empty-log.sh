#!/bin/sh
# @markwylde/liferaft 1.4.0 (npm): a node with an empty log is elected, and a committed entry is overwritten.
#
# A good guess: a node votes only for a candidate whose log is at least as new as its own: the last term is compared
# first, and between equal terms the index. That is in the source, and by it what a majority has committed is never lost.
# What happens: a node without an entry gives its own new term, that of the election, as the term of its last entry. That
# is higher than any term in a log, so it gets every vote. Of three nodes, a leads and commits an entry with b while c
# is cut off. Then a stops, and c, which has nothing, is elected with the vote of b. Its first command is entry 1 also on
# b, in the place of the committed one. Each of the two commands has had its "commit" event, and nobody is told.
# Why it matters: a node that is new or has lost its disk is the one with an empty log, and the first election that it
# wins costs what was committed before. The client had the confirmation of its write. An empty log is index 0 of term 0, below
# everything. A test of elections needs a candidate whose log is shorter, one whose log is older, and one that has none.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" @markwylde/liferaft@1.4.0 memdown@6.1.1
cat >"$tmp/show.cjs" <<'JS'
const { readFileSync } = require("node:fs");
const Raft = require("@markwylde/liferaft");
const Log = require("@markwylde/liferaft/log");
const memdown = require("memdown");

const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
const until = async (what, condition) => {
  for (let tries = 0; !(await condition()); tries += 1) {
    if (tries > 200) throw new Error(`no ${what}`);
    await sleep(20);
  }
};
const nodes = {};
const down = new Set();
const committed = { a: [], b: [], c: [] };

function member(name) {
  class Node extends Raft {
    write(packet, done) {
      if (down.has(name) || down.has(this.address)) return done(new Error("cut off"));
      setImmediate(() => nodes[this.address].emit("data", JSON.parse(JSON.stringify(packet)), (reply) => {
        if (reply) done(undefined, reply);
      }));
    }
  }
  const node = new Node({
    address: name, Log, adapter: memdown, heartbeat: "50 ms", "election min": "20 s", "election max": "21 s",
  });
  node.on("error", () => {});
  node.on("commit", (command) => committed[name].push(command.put));
  return node;
}

(async () => {
  for (const name of "abc") nodes[name] = member(name);
  for (const name of "abc") for (const other of "abc") if (other !== name) nodes[name].join(other);
  const { a, b, c } = nodes;
  a.promote();
  await until("first leader", () => a.state === Raft.LEADER && c.leader === "a");
  down.add("c");
  await a.command({ put: "first" });
  await until("commit on a and b", () => committed.a.length && committed.b.length);
  const before = { entry: (await b.log.get(1)).command.put, last: (await c.log.getLastInfo()).index };
  down.delete("c");
  down.add("a");
  c.promote();
  await until("second leader", () => c.state === Raft.LEADER);
  await c.command({ put: "second" });
  await until("commit on c", () => committed.c.length);
  const after = (await b.log.get(1)).command.put;
  const { version } = JSON.parse(readFileSync("node_modules/@markwylde/liferaft/package.json"));
  console.log(`@markwylde/liferaft ${version} (npm), nodes a, b and c`);
  console.log(`  a led, c was cut off: entry 1 on b is "${before.entry}", the last index on c is ${before.last}`);
  console.log(`  a stopped, c stood for election: c leads, entry 1 on b is "${after}"`);
  console.log(`  commit events: ${JSON.stringify(committed)}`);
  const stated = before.entry === "first" && before.last === 0 && after === "second" &&
    JSON.stringify(committed) === JSON.stringify({ a: ["first"], b: ["first"], c: ["second"] });
  process.exit(stated ? 0 : 1);
})().catch((error) => { console.log(error.message); process.exit(1); });
JS
timeout 60 node "$tmp/show.cjs"

#!/bin/sh
# etcd3 1.1.2 (npm) with etcd 3.4.23: sort() does nothing for keys that are whole numbers, and text keys obey it.
#
# A good guess: namespace("jobs/").getAll().sort("Create", "Ascend").strings() gives the oldest job first, since etcd sorts
# and the client passes on what it gets. Keys are texts, whether they are "b" or "10".
# What happens: strings(), json(), numbers() and buffers() answer with an object, and an object of JavaScript lists names
# that are whole numbers first and in numerical order. In a namespace the prefix is taken off, so jobs/10 becomes "10". The
# order that was asked for is lost for such keys and kept for the others. keys() and exec() give arrays and keep it all.
# Why it matters: a queue with numbers from a counter is worked on in the order of the numbers, not of creation or priority,
# and an order that happens to rise with the numbers hides it in tests. With limit() it is worse: the right jobs come, in
# the wrong order. Read exec().kvs, or give the keys a letter. A client should answer a sorted question with a list.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
npm install --silent --no-audit --no-fund --prefix "$tmp" etcd3@1.1.2
cat >"$tmp/show.mjs" <<'JS'
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import net from "node:net";
import { Etcd3 } from "etcd3";

const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
const freePort = () => new Promise((resolve) => {
  const probe = net.createServer();
  probe.listen(0, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => resolve(port)); });
});
const accepts = (port) => new Promise((resolve) => {
  const socket = net.connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); });
  socket.on("error", () => resolve(false));
});

const clients = await freePort();
const peers = await freePort();
const [url, peerUrl] = [`http://127.0.0.1:${clients}`, `http://127.0.0.1:${peers}`];
const server = spawn("etcd/usr/bin/etcd", ["--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls",
  url, "--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl, "--initial-cluster", `default=${peerUrl}`],
{ stdio: "ignore" });
process.on("exit", () => server.kill());
for (let tries = 0; !(await accepts(clients)); tries += 1) {
  if (tries > 200) throw new Error("etcd did not start");
  await sleep(100);
}

const client = new Etcd3({ hosts: url });
const LATER_FIRST = { words: ["c", "b", "a"], numbers: ["30", "7", "100"], mixed: ["b", "30", "a", "7"] };
const seen = {};
for (const [name, keys] of Object.entries(LATER_FIRST)) {
  const jobs = client.namespace(`${name}/`);
  for (const key of keys) await jobs.put(key).value("job");
  const sorted = () => jobs.getAll().sort("Create", "Ascend");
  seen[name] = [await sorted().keys(), Object.keys(await sorted().strings()),
    (await sorted().exec()).kvs.map((entry) => entry.key.toString())];
}
const { version } = JSON.parse(readFileSync("node_modules/etcd3/package.json"));
console.log(`etcd3 ${version} (npm), etcd 3.4.23: keys in a namespace, sort("Create", "Ascend")`);
for (const [name, keys] of Object.entries(LATER_FIRST)) {
  const [array, object, raw] = seen[name];
  console.log(`  created ${keys}: keys() ${array}, strings() ${object}, exec() ${raw}`);
}
const asStated = Object.entries(LATER_FIRST).every(([name, keys]) => seen[name][0].join() === keys.join()) &&
  seen.words[1].join() === "c,b,a" && seen.numbers[1].join() === "7,30,100" && seen.mixed[1].join() === "7,30,b,a";
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

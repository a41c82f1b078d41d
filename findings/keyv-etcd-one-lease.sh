#!/bin/sh
# @keyv/etcd 2.1.1: all keys share the one lease of the adapter, so they expire early, and then no write succeeds.
#
# A good guess: ttl is the time that a key lives after it is set. With etcd beneath, each set() gets a lease of its own
# with that time, or the key's lease is renewed.
# What happens: the adapter is granted one lease when it is constructed, does not keep it alive, and puts every key under
# it. With a ttl of 4 s, a key that is set 3 s later is gone after about one second. Once the lease has run out etcd
# refuses every put that names it, so set() gives false from then on, until the process makes a new adapter.
# Why it matters: a test that sets, waits and reads passes, and so does a program that lives for less than its ttl. A
# cache with an hour's ttl works for an hour, loses all its keys in one moment, and is empty from then on. Leases group
# keys that shall die together: a store that has them needs a word on that for those who look for a time to live.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download etcd-server=3.4.23-4+b4
dpkg -x etcd-server_*.deb "$tmp/etcd"
npm install --silent --no-audit --no-fund --prefix "$tmp" keyv@5.6.0 @keyv/etcd@2.1.1 etcd3@1.1.2
cat >"$tmp/show.mjs" <<'JS'
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import net from "node:net";
import KeyvEtcd from "@keyv/etcd";
import { Keyv } from "keyv";

const TTL = 4000;
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

const errors = [];
const keyv = new Keyv({ store: new KeyvEtcd(`127.0.0.1:${clients}`, { ttl: TTL }), ttl: TTL });
keyv.on("error", (error) => errors.push(error.message));
const began = Date.now();
const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
await keyv.set("early", "value");
await sleep(3000);
const set = Date.now();
const late = await keyv.set("late", "value");
const there = await keyv.get("late");
while ((await keyv.get("late")) !== undefined && Date.now() - set < 2 * TTL) await sleep(50);
const lived = (Date.now() - set) / 1000;
await sleep(1000);
const again = await keyv.set("again", "value");
const stored = await keyv.get("again");
const { version } = JSON.parse(readFileSync("node_modules/@keyv/etcd/package.json"));
console.log(`@keyv/etcd ${version} with keyv 5.6.0, etcd 3.4.23, ttl ${TTL / 1000} s`);
console.log(`  set 3 s after the start: ${late}, get: ${there}, and gone after ${lived.toFixed(1)} s`);
console.log(`  set at ${seconds()} s: ${again}, get: ${stored}`);
console.log(`  the error event: ${errors[0]}`);
const asStated = late === true && there === "value" && lived < 3 && again === false && stored === undefined &&
  /requested lease not found/.test(errors[0] ?? "");
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

#!/bin/sh
# etcd3 1.1.2 (npm) with etcd 3.4.23: a second acquire() of a lock that is held makes it impossible to release.
#
# A good guess: acquire() of a lock object that has the lock already is refused, and that is all. The object still has the
# lock, and release() frees it. If all fails, the lease runs out after its ttl.
# What happens: acquire() makes a new lease before it asks, and the object keeps this one instead of that of the held lock.
# It is refused with EtcdLockFailedError, as for a lock of somebody else. release() then gives up the new lease, does not
# raise, and leaves the lock. The first lease is still kept alive by the client, so the ttl does not end it either: with
# a ttl of 2 s the lock is held 6 s after the release, for this object as for everybody else.
# Why it matters: a retry around "acquire and work" after a failure of the work, not of the lock, does just this. The
# lock is then held by nobody for as long as the process lives, and no call tells. Make a new lock object for each
# attempt. In a client of a store, acquire() should look first at whether it has the lock, and set its state last.
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

const outcome = async (call) => {
  try {
    await call();
    return "done";
  } catch (error) {
    return error.constructor.name;
  }
};

async function look(name, again) {
  const mine = new Etcd3({ hosts: url });
  const other = new Etcd3({ hosts: url });
  const lock = mine.lock(name).ttl(2);
  const seen = { acquire: await outcome(() => lock.acquire()) };
  if (again) seen["acquire again"] = await outcome(() => lock.acquire());
  seen.release = await outcome(() => lock.release());
  await sleep(6000);
  seen["another client, 6 s later"] = await outcome(async () => {
    const others = other.lock(name).ttl(2);
    await others.acquire();
    await others.release();
  });
  seen["the same object"] = await outcome(() => lock.acquire());
  return seen;
}

const [once, twice] = await Promise.all([look("once", false), look("twice", true)]);
const { version } = JSON.parse(readFileSync("node_modules/etcd3/package.json"));
console.log(`etcd3 ${version} (npm), etcd 3.4.23, locks with a ttl of 2 s`);
console.log(`  acquired once:  ${JSON.stringify(once)}`);
console.log(`  acquired twice: ${JSON.stringify(twice)}`);
const asStated = Object.values(once).join() === "done,done,done,done" &&
  Object.values(twice).join() === "done,EtcdLockFailedError,done,EtcdLockFailedError,EtcdLockFailedError";
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

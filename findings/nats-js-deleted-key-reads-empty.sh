#!/bin/sh
# @nats-io/kv 3.4.0 (npm) with NATS 2.9.10: get() of a deleted key gives an entry with an empty value, not null.
#
# A good guess: get() gives an entry or null, as its type says, and null means that there is no such key. After delete()
# and purge() there is none. keys() leaves it out, create() takes it as free, and nats-py raises KeyNotFoundError for
# it.
# What happens: null is only for keys that were never written, or whose history has been removed. For a deleted key
# get() gives an entry whose operation is DEL or PURGE, and string() is "". It has a length of 0 and a revision like an
# entry with an empty value, and json() of it throws a SyntaxError.
# Why it matters: "if (entry)" is how one asks whether a lock, a member or a flag is there. It is right for a key that
# is new in each test, and once the key has been deleted the answer is yes for ever: the lock has an owner with no name,
# the setting is an empty text. Look at entry.operation, or ask with keys(). What a store keeps to mark a deletion must
# not come out where values come out.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
apt-get -qq -o APT::Sandbox::User=root download nats-server=2.9.10-1+b3
dpkg -x nats-server_*.deb "$tmp/nats"
npm install --silent --no-audit --no-fund --prefix "$tmp" @nats-io/kv@3.4.0 @nats-io/transport-node@3.4.0
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check nats-py==2.16.0
cat >"$tmp/read.py" <<'PY'
import asyncio
import sys

import nats


async def main():
    client = await nats.connect(sys.argv[1])
    values = await client.jetstream().key_value("bucket")
    for key in sys.argv[2:]:
        try:
            print(repr((await values.get(key)).value))
        except nats.js.errors.Error as error:
            print(f"raises {type(error).__name__}")
    await client.close()


asyncio.run(main())
PY
cat >"$tmp/show.mjs" <<'JS'
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import net from "node:net";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const freePort = () => new Promise((resolve) => {
  const probe = net.createServer();
  probe.listen(0, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => resolve(port)); });
});

const port = await freePort();
const server = spawn("nats/usr/sbin/nats-server", ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", "data"],
  { stdio: "ignore" });
process.on("exit", () => server.kill());
const client = await connect({ servers: `127.0.0.1:${port}`, waitOnFirstConnect: true, reconnectTimeWait: 100 });
const values = await new Kvm(client).create("bucket");
const keys = ["stored", "deleted", "purged", "never"];
for (const key of keys.slice(0, 3)) await values.put(key, "value");
await values.delete("deleted");
await values.purge("purged");
const show = (entry) => entry && `${entry.operation} ${JSON.stringify(entry.string())}`;
const seen = {};
for (const key of keys) seen[key] = show(await values.get(key));
let json = "a value";
try {
  (await values.get("deleted")).json();
} catch (error) {
  json = error.name;
}
const listed = [];
for await (const key of await values.keys()) listed.push(key);
const python = execFileSync("venv/bin/python", ["read.py", `nats://127.0.0.1:${port}`, ...keys]).toString().split("\n");
const created = (await values.create("deleted", "new")) > 0;
const { version } = JSON.parse(readFileSync("node_modules/@nats-io/kv/package.json"));
console.log(`@nats-io/kv ${version}, NATS ${client.info.version}`);
keys.forEach((key, place) => console.log(`  get("${key}"): ${seen[key]}; nats-py 2.16.0: ${python[place]}`));
console.log(`  json() of the deleted: ${json}; keys(): ${listed}; create("deleted"): ${created}`);
const asStated = Object.values(seen).join() === 'PUT "value",DEL "",PURGE "",' && seen.never === null &&
  python.slice(0, 4).join() === "b'value',raises KeyNotFoundError,raises KeyNotFoundError,raises KeyNotFoundError" &&
  json === "SyntaxError" && listed.join() === "stored" && created;
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

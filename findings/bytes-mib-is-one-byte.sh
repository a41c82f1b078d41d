#!/bin/sh
# bytes 3.1.2 (npm) under express 5.3.0: "64MiB" is 64 bytes and "10M" is 10, so express refuses every body of some size.
#
# A good guess: a size that the parser does not know gives null, as its description says for text that it cannot parse, and
# express.json({ limit }) then fails when it is set up. Or MiB is known: the package counts in powers of 1024 anyway.
# What happens: text that does not end in b, kb, mb, gb, tb or pb is read as far as it is a whole number, and taken as bytes.
# "64MiB" is 64, "10M" is 10, "1.5G" is 1. Only text that does not begin with a number is null. With limit "1MiB" express
# starts without a complaint and answers 413 to a body of 7 bytes; with "1mb" it takes 100,000.
# Why it matters: MiB is the right name for what the package means, and M is what dd, Redis and nginx take. The limit comes
# out a million times too small, and shows only when the first real request comes. As a size of a cache or of a log it does
# not even answer 413. Check for the unit before, or give numbers.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" bytes@3.1.2 express@5.3.0
cat >"$tmp/show.cjs" <<'JS'
const bytes = require("bytes");
const express = require("express");

const expected = { "64mb": 67108864, "64MiB": 64, "10M": 10, "1.5G": 1, "1kib": 1, "MiB": null };
const sizes = Object.fromEntries(Object.keys(expected).map((text) => [text, bytes.parse(text)]));

async function status(limit, length) {
  const app = express();
  app.use(express.json({ limit }));
  app.post("/", (request, response) => response.send("ok"));
  app.use((error, request, response, next) => response.status(error.status).send(error.type));
  const server = await new Promise((resolve) => { const s = app.listen(0, "127.0.0.1", () => resolve(s)); });
  const body = JSON.stringify("x".repeat(length - 2));
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`,
    { method: "POST", headers: { "Content-Type": "application/json", Connection: "close" }, body: `[${body}]` });
  const text = await answer.text();
  server.close();
  return `${answer.status} ${text}`;
}

(async () => {
  const small = await status("1MiB", 5);
  const large = await status("1mb", 100000);
  const version = (name) => require(`${name}/package.json`).version;
  console.log(`bytes ${version("bytes")}, express ${version("express")}`);
  console.log(`  bytes.parse: ${JSON.stringify(sizes)}`);
  console.log(`  limit "1MiB", a body of 7 bytes: ${small}`);
  console.log(`  limit "1mb", a body of 100,002 bytes: ${large}`);
  const asStated = JSON.stringify(sizes) === JSON.stringify(expected) && small === "413 entity.too.large" &&
    large === "200 ok";
  process.exit(asStated ? 0 : 1);
})();
JS
timeout 60 node "$tmp/show.cjs"

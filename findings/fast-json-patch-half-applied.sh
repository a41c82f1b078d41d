#!/bin/sh
# fast-json-patch 3.1.1 (npm): a patch whose test fails has by then changed the document.
#
# A good guess: applyPatch() throws and the document is what it was. RFC 5789 asks for all or nothing, and a test
# operation (RFC 6902) is there to stop a patch that was made for another state.
# What happens: the operations are done one by one on the document that was passed in. When the test after them fails,
# the error is thrown and the operations before it stay. The third argument, which has the patch checked, changes
# nothing about that. With mutateDocument false the document that was passed in stays whole. Python's jsonpatch 1.48
# works on a copy.
# Why it matters: the document is often the cached or stored one. The caller reads a failure, answers 409, and from then
# on serves a value that nobody has written; a retry of the patch does its first half twice. Pass false as the fourth
# argument, or put the tests first. A store that takes patches must work on a copy and swap it in at the end.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" fast-json-patch@3.1.1
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import jsonpatch from "fast-json-patch";

const patch = [
  { op: "add", path: "/log/-", value: "taken" },
  { op: "replace", path: "/owner", value: "mine" },
  { op: "test", path: "/version", value: 3 },
];

function look(...options) {
  const stored = { owner: "nobody", version: 4, log: [] };
  const errors = [];
  for (let tries = 0; tries < 2; tries += 1) {
    try {
      jsonpatch.applyPatch(stored, structuredClone(patch), ...options);
    } catch (error) {
      errors.push(error.name);
    }
  }
  return { errors: errors.join(", "), stored: JSON.stringify(stored) };
}

const seen = { "": look(), ", true": look(true), ", false, false": look(false, false) };
const { version } = JSON.parse(readFileSync("node_modules/fast-json-patch/package.json"));
console.log(`fast-json-patch ${version}; twice a patch that takes the document if its version is 3, which is 4`);
for (const [options, { errors, stored }] of Object.entries(seen)) {
  console.log(`  applyPatch(stored, patch${options}): ${errors}; stored then: ${stored}`);
}
const failed = "TEST_OPERATION_FAILED, TEST_OPERATION_FAILED";
const half = { errors: failed, stored: '{"owner":"mine","version":4,"log":["taken","taken"]}' };
const whole = { errors: failed, stored: '{"owner":"nobody","version":4,"log":[]}' };
process.exit(JSON.stringify(Object.values(seen)) === JSON.stringify([half, half, whole]) ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

#!/bin/sh
# lmdb 3.5.6 (npm): a transaction whose callback throws is rejected, and what it wrote before is committed.
#
# A good guess: db.transaction(callback) is all or nothing. The manual calls it atomic, and transactionSync() of the
# same object gives the writes up when its callback throws.
# What happens: the promise is rejected with the error, and the writes that the callback made before it are in the
# database, also after it has been closed and opened. An async callback that is rejected does the same. Only
# childTransaction(), for which the manual has the words "to be aborted", and transactionSync() give them up.
# Why it matters: "take from one account, check, add to the other" throws in the middle when the check fails. The
# caller sees the error, takes it that nothing was done, and tries again: each time the money is taken once more. Use
# childTransaction(), or make all checks before the first write. In an interface, the call that is named transaction
# should be the one that can fail as a whole.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" lmdb@3.5.6
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { open } from "lmdb";

let db = open({ path: "accounts" });
const outcome = async (call) => {
  try {
    await call();
    return "done";
  } catch (error) {
    return `rejected with "${error.message}"`;
  }
};

async function transfer(kind, later) {
  const account = `${kind}${later ? ", async" : ""}`;
  await db.put(account, 100);
  const take = () => {
    db.put(account, db.get(account) - 30);
    throw new Error("no such account");
  };
  const result = await outcome(() => db[kind](later ? async () => take() : take));
  return [account, result];
}

const results = [
  await transfer("transaction", false), await transfer("transaction", true), await transfer("childTransaction", false),
  await transfer("transactionSync", false),
];
await db.flushed;
await db.close();
db = open({ path: "accounts" });
const { version } = JSON.parse(readFileSync("node_modules/lmdb/package.json"));
console.log(`lmdb ${version} (npm); an account of 100, a callback that takes 30 and throws`);
const left = results.map(([account, result]) => {
  const amount = db.get(account);
  console.log(`  ${account}: ${result}, left in the account: ${amount}`);
  return result.startsWith("rejected") ? amount : result;
});
await db.close();
process.exit(left.join() === "70,70,100,100" ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

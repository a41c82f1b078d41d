#!/bin/sh
# delta-crdts 0.10.3 (npm): the delta of remove() on an add-wins set removes nothing at the other replicas.
#
# A good guess: each change gives a delta, and a replica that applies all deltas in their order has the value of the
# replica that made them. This is how the documentation replicates.
# What happens: the delta of remove() should name the additions that it takes away, and its list of them is wrong. The
# replica that removes forgets the element at once, and the others keep it although they have applied the delta. The
# flag where enabling wins has the same fault: it stays true after the delta of disable(). Applying the whole state
# repairs both. Sets and flags where removing or disabling wins are right. It is not documented, and no report was found.
# Why it matters: the point of deltas is that nobody sends the whole state. Every addition is replicated and no removal,
# so a member that has left, or a permission that was taken away, stays for good on all nodes but one. No error tells,
# and a test that only adds, or that compares after merging states, passes. Test the convergence of a replicated type
# through the path that production uses, with each operation.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" delta-crdts@0.10.3
cat >"$tmp/show.cjs" <<'JS'
const { version } = require("delta-crdts/package.json");
const crdt = require("delta-crdts");

// The values of a replica that makes two changes, of one that applies their deltas, and of that one with the state.
function look(type, changes) {
  const make = crdt(type);
  const here = make("here");
  const there = make("there");
  for (const [change, ...values] of changes) there.apply(here[change](...values));
  const text = (replica) => JSON.stringify(replica.value() instanceof Set ? [...replica.value()] : replica.value());
  const seen = [text(here), text(there)];
  there.apply(here.state());
  return [...seen, text(there)];
}

const set = [["add", "ann"], ["add", "bob"], ["remove", "ann"]];
const flag = [["enable"], ["disable"]];
const seen = {
  "aworset (adding wins)   add ann, add bob, remove ann": look("aworset", set),
  "rworset (removing wins) add ann, add bob, remove ann": look("rworset", set),
  "ewflag (enabling wins)  enable, disable": look("ewflag", flag),
  "dwflag (disabling wins) enable, disable": look("dwflag", flag),
};
console.log(`delta-crdts ${version}`);
for (const [name, [here, there, state]] of Object.entries(seen)) {
  console.log(`  ${name}: here ${here}, at a replica with the deltas ${there}, and with the whole state ${state}`);
}
const expected = [['["bob"]', '["ann","bob"]', '["bob"]'], ['["bob"]', '["bob"]', '["bob"]'],
  ["false", "true", "false"], ["false", "false", "false"]];
process.exit(JSON.stringify(Object.values(seen)) === JSON.stringify(expected) ? 0 : 1);
JS
timeout 60 node "$tmp/show.cjs"

#!/bin/sh
# jsondiff 2.2.1, dictdiffer 0.10.0, json-delta 2.0.2: a change from 1 to true, or from false to 0, is no difference.
#
# A good guess: a library that makes a patch from two documents finds each value that differs in JSON, where true and 1
# are different values. The patched copy, written as JSON, has the same text as the new document.
# What happens: the three compare with == of Python, for which 1, 1.0 and True are equal. The difference is empty, and
# the copy keeps the old value, also when other fields of the same document change. DeepDiff finds the change of a field,
# and misses it in a list such as [1, 0]. None of the three documents it; the reader of JSON keeps the two apart.
# Why it matters: replication by differences takes an empty difference for "in step", so the copies stay different for
# good: every check with the same library passes, while a peer in another language, or a hash over the text, sees two
# documents. 1 to true is what a migration of flags does, and a strict reader refuses the copy. Compare the texts as
# well, or let the types take part in the comparison. Equality of the language is not equality of the format.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jsondiff==2.2.1 dictdiffer==0.10.0 json-delta==2.0.2 \
    deepdiff==9.1.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import json
import sys
from importlib.metadata import version

import deepdiff
import dictdiffer
import json_delta
import jsondiff

OLD = '{"name": "a", "flags": {"backup": 1, "debug": 0}, "mask": [1, 0]}'
NEW = '{"name": "b", "flags": {"backup": true, "debug": false}, "mask": [true, false]}'

ways = {
    "jsondiff": lambda old, new: jsondiff.patch(old, jsondiff.diff(old, new)),
    "dictdiffer": lambda old, new: dictdiffer.patch(list(dictdiffer.diff(old, new)), old),
    "json-delta": lambda old, new: json_delta.patch(old, json_delta.diff(old, new, verbose=False)),
    "deepdiff": lambda old, new: old + deepdiff.Delta(deepdiff.DeepDiff(old, new)),
}
seen = {name: json.dumps(way(json.loads(OLD), json.loads(NEW))) for name, way in ways.items()}
print(f"  old document: {OLD}\n  new document: {NEW}")
for name, patched in seen.items():
    print(f"  {name} {version(name)}, the old one patched: {patched}")
missed = OLD.replace('"a"', '"b"')
sys.exit(list(seen.values()) != [missed, missed, missed, NEW.replace("[true, false]", "[1, 0]")])
PY

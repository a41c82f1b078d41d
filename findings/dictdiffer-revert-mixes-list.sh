#!/bin/sh
# dictdiffer 0.10.0: revert() of a change that removed three or more items of a list brings them back in another order.
#
# A good guess: revert(diff(a, b), b) is a, as the documentation promises. It is with one item removed, and with two.
# What happens: the difference lists removed items from the last to the first, and revert() inserts them in that order,
# each at its old place in a list that is still too short. [1, 2, 3, 4] of which 1 is left comes back as [1, 2, 4, 3].
# patch() is right, and so is revert() of an addition. The fault has been reported since May 2023 and is open.
# Why it matters: differences are kept as the history of a record, for undo and for going back to a revision. The record
# that comes back has all its items and the wrong order: the steps of a job, the fallback servers, the queue. The next
# difference from it is taken as correct. Keep the old value, or check revert() against its hash. A test of an inverse
# needs more than two elements.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check dictdiffer==0.10.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from copy import deepcopy
from importlib.metadata import version

from dictdiffer import diff, patch, revert


def look(old, new):
    difference = list(diff(old, new))
    return patch(difference, deepcopy(old)) == new, revert(difference, deepcopy(new))


steps = ["stop", "copy", "check", "start"]
seen = {}
for left in 3, 2, 1, 0:
    seen[left] = look({"steps": steps}, {"steps": steps[:left]})
print(f"dictdiffer {version('dictdiffer')}; steps are {' '.join(steps)}, and then fewer")
for left, (patched, reverted) in seen.items():
    print(f"  {len(steps) - left} removed: patch() is right: {patched}, revert() gives {' '.join(reverted['steps'])}")
orders = [" ".join(reverted["steps"]) for _, reverted in seen.values()]
sys.exit(not all(patched for patched, _ in seen.values()) or orders != [
    "stop copy check start", "stop copy check start", "stop copy start check", "stop start copy check"])
PY

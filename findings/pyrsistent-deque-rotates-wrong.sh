#!/bin/sh
# pyrsistent 0.20.0: a pdeque rotated by more than its length is in the wrong order, and remove() takes away its limit.
#
# A good guess: pdeque is documented as the persistent form of collections.deque, so rotate(4) of three elements is
# rotate(1), and a deque with maxlen keeps at most that many, whatever is done to it.
# What happens: rotate(n) with n above the length, in either direction, gives the elements as they were. It is right up
# to the length. remove() and reverse() return a deque without a limit, which then grows with each append(). Neither is
# documented. A repair for the lost limit was proposed in September 2026; of rotate() no report was found.
# Why it matters: rotating by a counter or a hash is how work goes round. With three workers, rotate(counter) gives each
# its turn once, and from 4 on all the work to the same one. A window of the last thousand events, from which one is
# removed, takes all memory in the end. Take the counter modulo the length, and make the deque anew after remove().
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pyrsistent==0.20.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from collections import deque
from importlib.metadata import version

from pyrsistent import pdeque


def standard(steps):
    rotated = deque("abc")
    rotated.rotate(steps)
    return "".join(rotated)


def length(change):
    window = change(pdeque([1, 2, 3], maxlen=3))
    for number in range(10):
        window = window.append(number)
    return len(window)


turns = {steps: ("".join(pdeque("abc").rotate(steps)), standard(steps)) for steps in (1, 3, 4, 5, -1, -4)}
lengths = {"append() only": length(lambda window: window), "after remove()": length(lambda window: window.remove(2)),
           "after reverse()": length(lambda window: window.reverse())}
print(f"pyrsistent {version('pyrsistent')}; abc rotated")
for steps, (persistent, right) in turns.items():
    print(f"  by {steps}: pdeque {persistent}, collections.deque {right}")
print(f"  length with maxlen=3 and ten more: {', '.join(f'{name} {number}' for name, number in lengths.items())}")
sys.exit((list(turns.values()), list(lengths.values())) != (
    [("cab", "cab"), ("abc", "abc"), ("abc", "cab"), ("abc", "bca"), ("bca", "bca"), ("abc", "bca")], [3, 12, 13]))
PY

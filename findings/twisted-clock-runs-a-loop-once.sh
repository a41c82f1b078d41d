#!/bin/sh
# Twisted 26.10.0: Clock.advance(10) runs a loop with a period of 1 s once, not ten times.
#
# A good guess: advancing a test's clock by 10 s is like ten seconds going by. What was due at each time is run at that
# time, and a call that is scheduled on the way is run too if it is due by then. tick() of sinon's fake timers does just
# that.
# What happens: the clock jumps to the end first, and then runs what had been scheduled before. All of it sees the end
# as the present time, and what it schedules counts from there. A chain of calls makes one step and a LoopingCall one
# round. A lease of 3 s whose renewals stop after 2 s is not lost within the 10 s, as its first renewal is done at 10 s.
# Why it matters: a test that advances by ten heartbeats has tested one, and a time-out that must fire does not. The
# test that a lock is given up passes or fails by the size of the steps, and "nothing happened within an hour" is easily
# true. Use pump([0.1] * 100) in place of advance(10). A simulator should go from event to event.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" @sinonjs/fake-timers@15.0.0
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check twisted==26.10.0
cat >"$tmp/sinon.cjs" <<'JS'
const clock = require("@sinonjs/fake-timers").createClock(0);
const beats = [];
const step = () => { beats.push(clock.now / 1000); clock.setTimeout(step, 1000); };
clock.setTimeout(step, 1000);
clock.tick(10000);
console.log(beats.join(" "));
JS
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import subprocess
import sys

import twisted
from twisted.internet.task import Clock, LoopingCall


def chain(clock, beats):
    def step():
        beats.append(clock.seconds())
        clock.callLater(1, step)
    clock.callLater(1, step)


def loop(clock, beats):
    looping = LoopingCall(lambda: beats.append(clock.seconds()))
    looping.clock = clock
    looping.start(1, now=False)


def look(start, move):
    clock, beats = Clock(), []
    start(clock, beats)
    move(clock)
    return " ".join(f"{beat:g}" for beat in beats)


def lease(move):
    """Whether a lease of 3 s is lost within 10 s that is renewed after one second, after two, and no more."""
    clock, lost, renewals = Clock(), [], iter(range(2))
    expiry = clock.callLater(3, lost.append, True)

    def renew():
        if next(renewals, None) is not None:
            expiry.reset(3)

    looping = LoopingCall(renew)
    looping.clock = clock
    looping.start(1, now=False)
    move(clock)
    return bool(lost)


moves = {"advance(10)": lambda clock: clock.advance(10), "pump([1] * 10)": lambda clock: clock.pump([1] * 10)}
seen = {name: (look(chain, move), look(loop, move), lease(move)) for name, move in moves.items()}
sinon = subprocess.check_output(["node", "sinon.cjs"], text=True).strip()
print(f"Twisted {twisted.__version__}, @sinonjs/fake-timers 15.0.0; seconds at which each was run")
for name, (chained, looped, lost) in seen.items():
    print(f"  {name}: callLater(1) chain {chained}; LoopingCall(1) {looped}; lease renewed until 2 s lost: {lost}")
print(f"  tick(10000) of sinon: {sinon}")
every = " ".join(map(str, range(1, 11)))
sys.exit(seen != {"advance(10)": ("10", "10", False), "pump([1] * 10)": (every, every, True)} or sinon != every)
PY

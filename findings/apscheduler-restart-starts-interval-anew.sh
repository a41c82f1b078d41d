#!/bin/sh
# APScheduler 3.11.3: a job kept in a database whose program starts more often than its interval is never run.
#
# A good guess: a job store in a database remembers when a job is due. The program adds the job at its start with an id
# and replace_existing=True, as the manual demands of programs with a persistent store. A job that became due while the
# program was down is run at its start, within misfire_grace_time.
# What happens: replacing a job computes its next run from now. "Every 4 seconds" is then 4 seconds after the last
# start, and what was due and missed is forgotten, with any misfire_grace_time and coalesce. A program that is up for
# a second and down for a second, nine times, does not run the job at all. Added only when get_job() finds none, it is.
# Why it matters: "every 24 hours" is a backup, a compaction or a check of what is left over. Where a deployment, a
# crash or an autoscaler restarts the program each day, the interval never ends. Nothing is logged: a job that is not
# yet due is no failure. Add the job only if it is missing, or give add_job() the stored next_run_time. What a schedule
# has stored is worth nothing when declaring it again resets it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check APScheduler==3.11.3 SQLAlchemy==2.1.9
cd "$tmp"
cat >"$tmp/service.py" <<'PY'
"""One life of a service: argument 1 is the database, argument 2 is "replace" or "missing"."""
import sys
import time

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler


def tick():
    print("tick")


if __name__ == "__main__":
    store = SQLAlchemyJobStore(f"sqlite:///{sys.argv[1]}")
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone="UTC")
    scheduler.start(paused=True)
    if sys.argv[2] == "replace" or scheduler.get_job("tick") is None:
        scheduler.add_job("service:tick", "interval", seconds=4, id="tick", replace_existing=True,
                          misfire_grace_time=3600, coalesce=True)
    scheduler.resume()
    time.sleep(1)
    scheduler.shutdown()
PY
timeout 90 "$tmp/venv/bin/python" - <<'PY'
import subprocess
import sys
import time
from importlib.metadata import version

WAYS = {"replace": "added with replace_existing=True at each start", "missing": "added when it is not in the database"}
LIVES = 9
runs = dict.fromkeys(WAYS, 0)
for _ in range(LIVES):
    commands = {way: [sys.executable, "service.py", f"{way}.db", way] for way in WAYS}
    services = {way: subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for way, command in commands.items()}
    for way, service in services.items():
        runs[way] += service.communicate(timeout=30)[0].count("tick")
        if service.returncode:
            raise SystemExit(f"the service ended with {service.returncode}")
    time.sleep(1)
print(f"APScheduler {version('APScheduler')}, a job every 4 s, a program that is up for 1 s, {LIVES} times")
for way, text in WAYS.items():
    print(f"  {text}: run {runs[way]} times")
sys.exit(runs["replace"] != 0 or runs["missing"] < 3)
PY

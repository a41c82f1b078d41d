#!/bin/sh
# cachier 4.2.0: two programs that have a function of the same name get each other's results.
#
# A good guess: a cache on disk belongs to the function that fills it. Two programs in two directories, with different
# code, have nothing to do with each other, as with joblib, which puts the path of the script into the name.
# What happens: the cache of a function is the file ~/.cachier/.MODULE.FUNCTION, and the module of every script that is
# started is __main__. After one script has called load(1), load(1) of every other script of this user gives that
# result, in the next process and on the next day. It is the same for functions of modules with a common name, such as
# util. The body of the function is never run, and no error is raised. The documentation names the directory, and says
# nothing of the names in it.
# Why it matters: load, fetch and main are what functions in scripts are called. A report then shows the figures of
# another customer, or a test run those of production. Give each program a cache_dir of its own. A cache that outlives
# the process needs a key that says whose value it is.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check cachier==4.2.0
mkdir "$tmp/home" "$tmp/orders" "$tmp/salaries"
for program in orders salaries; do
    cat >"$tmp/$program/util.py" <<PY
from cachier import cachier


@cachier()
def fetch(number):
    return f"$program {number} by fetch()"
PY
    cat >"$tmp/$program/show.py" <<PY
import util
from cachier import cachier


@cachier()
def load(number):
    return f"$program {number} by load()"


print(load(1), util.fetch(1), sep=", ")
PY
done
cd "$tmp"
HOME=$tmp/home timeout 60 "$tmp/venv/bin/python" - <<'PY'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

seen = {}
for program in "orders", "salaries":
    run = subprocess.run([sys.executable, f"{program}/show.py"], capture_output=True, text=True, check=True)
    seen[program] = run.stdout.strip()
files = sorted(file.name for file in Path.home().joinpath(".cachier").iterdir() if file.suffix != ".lock")
print(f"cachier {version('cachier')}; files in ~/.cachier: {', '.join(files)}")
for program, printed in seen.items():
    print(f"  {program}/show.py prints: {printed}")
sys.exit(set(seen.values()) != {"orders 1 by load(), orders 1 by fetch()"})
PY

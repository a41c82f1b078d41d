#!/bin/sh
# toml 0.10.2: dumps() writes the names of a table within nested arrays in place of the table, and drops empty tables.
#
# A good guess: what toml.loads() has read, toml.dumps() writes so that it reads the same, or raises an error for what
# it cannot write.
# What happens: a table in an array of arrays is written as the array of its keys, and the values are gone:
# [[{host = "a", port = 1}]] becomes [[["host", "port"]]]. An empty table in an array of tables is left out. Both are
# good TOML that the package itself and tomllib of Python read without an error. tomlkit writes all of it. (A text of
# three quotation marks is written right, but loads() reads it as an empty text; tomllib reads it right.)
# Why it matters: a program that reads a configuration, changes one entry and writes the file back destroys the list of
# replicas per shard beside it. The file still parses, and the first sign is code that gets "host" where a table should
# be. This is the package that "pip install toml" gives. Use tomllib for reading and tomlkit or tomli-w for writing, and
# read back what was written before it replaces the old file.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check toml==0.10.2 tomlkit==0.15.2
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import tomllib
from importlib.metadata import version

import toml
import tomlkit

CONFIGURATION = """
name = "east"
shards = [
    [{host = "a", port = 1}, {host = "b", port = 2}],
    [{host = "c", port = 3}],
]

[[jobs]]
name = "backup"
options = {}
"""

read = toml.loads(CONFIGURATION)
same = read == tomllib.loads(CONFIGURATION)
read["name"] = "west"
written = {f"toml {version('toml')}": toml.dumps(read), f"tomlkit {version('tomlkit')}": tomlkit.dumps(read)}
back = {name: tomllib.loads(text) for name, text in written.items()}
again = toml.loads(toml.dumps(read)) == tomllib.loads(toml.dumps(read))
quotes = toml.dumps({"text": '"""'})
texts = toml.loads(quotes)["text"], tomllib.loads(quotes)["text"]
print(f"read as tomllib does: {same}; then written and read with tomllib")
for name, found in back.items():
    print(f"  {name}: shards {found['shards']}")
    print(f"    jobs {found['jobs']}")
print(f"  toml reads its own output as tomllib does: {again}; three quotation marks: {texts}")
lost, kept = back.values()
sys.exit((same, again, texts, kept, lost) != (
    True, True, ("", '"""'),
    {"name": "west", "shards": [[{"host": "a", "port": 1}, {"host": "b", "port": 2}], [{"host": "c", "port": 3}]],
     "jobs": [{"name": "backup", "options": {}}]},
    {"name": "west", "shards": [[["host", "port"], ["host", "port"]], [["host", "port"]]],
     "jobs": [{"name": "backup"}]}))
PY

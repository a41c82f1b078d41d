#!/bin/sh
# fastavro 1.13.1: an "int" field given 3.7 is written as 3, and a "boolean" field given "false" as true.
#
# A good guess: a format with a schema refuses a value that its schema does not allow. fastavro does so for a text in an
# "int" field, and for 3.7 in a field that may be null or an int.
# What happens: a plain "int" or "long" field cuts the part after the point, and an "int" field takes 2**31 and more,
# which are out of its range. A plain "boolean" field takes anything: "false", "no" and [0] are true. strict=True, which
# is about the names of fields, changes nothing. validator=True refuses them all and is off by default. The documentation
# says that validation is optional and not that other values are written; no report of it was found.
# Why it matters: "false" and 3.7 come from a form, a CSV file or the environment. The file is valid, each reader in each
# language agrees on the wrong value, and the original is gone. A field that is made optional later raises where it wrote
# before. Pass validator=True wherever the data comes from outside.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check fastavro==1.13.1
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import fastavro

CASES = [("int", 3.7), ("int", 2**31), ("int", "7"), ("boolean", "false"), ("boolean", [0])]


def stored(kind, value, **options):
    """What a reader gets for a value that was written to a field of this type."""
    schema = fastavro.parse_schema({"type": "record", "name": "Row", "fields": [{"name": "field", "type": kind}]})
    file = io.BytesIO()
    try:
        fastavro.writer(file, schema, [{"field": value}], **options)
    except Exception as error:
        return f"raises {type(error).__name__}"
    file.seek(0)
    return next(fastavro.reader(file))["field"]


seen = {}
for kind, value in CASES:
    seen[kind, repr(value)] = [stored(kind, value), stored(kind, value, strict=True),
                               stored(["null", kind], value), stored(kind, value, validator=True)]
print(f"fastavro {version('fastavro')}; read after writing: plain, with strict=True, in a field that may be null, "
      "with validator=True")
for (kind, value), answers in seen.items():
    print(f"  {kind} {value}: {', '.join(map(str, answers))}")
refused = ["raises ValueError", "raises ValidationError"]
sys.exit(list(seen.values()) != [[3, 3, *refused], [2**31, 2**31, *refused],
                                 ["raises TypeError", "raises TypeError", *refused],
                                 [True, True, *refused], [True, True, *refused]])
PY

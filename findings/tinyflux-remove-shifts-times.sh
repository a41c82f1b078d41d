#!/bin/sh
# tinyflux 1.2.0: after one remove(), the next one by time can take out all points, and with a late point the wrong ones.
#
# A good guess: points may come in any order, remove() takes out those that match, and all later queries see the rest.
# Of the hours 1 to 3 without hour 3, "from hour 2 on" is hour 2, for search() and for remove().
# What happens: the index keeps the times sorted, beside a list of where each of them lies in the file. remove()
# shortens the first and leaves the second as it is. So "from hour 2 on" names hour 2 and a place that is not there any
# more. These are two, as many as there are points, which remove() takes for "all match", and empties the database. If
# the hours came as 3, 1, 2, remove() of hour 3 also takes the time of hour 1 out of the sorted list, since its number
# in the file is taken for its number in the list: then "from hour 2 on" finds hours 1 and 2, and "hour 1" finds
# nothing. When the file is opened again after the first remove(), all is right. No error is raised.
# Why it matters: old or bad points are removed again and again in one process, which is how a database of measurements
# is kept small. The count that remove() returns is the only sign. Open the file again after each remove(), or take
# auto_index=False. A list of places that is kept beside a file must be made anew when the file is written anew, and a
# test has to go on querying after a removal, also with unsorted points.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check tinyflux==1.2.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone
from importlib.metadata import version

from tinyflux import Point, TimeQuery, TinyFlux


def hour(number):
    return datetime(2026, 1, 1, number, tzinfo=timezone.utc)


def hours(points):
    return sorted(point.time.astimezone(timezone.utc).hour for point in points)


def look(name, order, opened_again):
    """What queries by time find after hour 3 was removed, and what is left after those from hour 2 on were, too."""
    db = TinyFlux(f"{name}.csv")
    for number in order:
        db.insert(Point(time=hour(number), fields={"value": number}))
    db.remove(TimeQuery() == hour(3))
    if opened_again:
        db.close()
        db = TinyFlux(f"{name}.csv")
    return (hours(db.all()), hours(db.search(TimeQuery() >= hour(2))), hours(db.search(TimeQuery() == hour(1))),
            db.remove(TimeQuery() >= hour(2)), hours(db.all()))


seen = {"in order": look("sorted", (1, 2, 3), False), "3, 1, 2": look("late", (3, 1, 2), False),
        "3, 1, 2, opened again": look("opened again", (3, 1, 2), True)}
print(f"tinyflux {version('tinyflux')}, hours 1 to 3, hour 3 removed")
for name, (everything, later, first, count, left) in seen.items():
    print(f"  {name}: all {everything}; from 2 on {later}; 1 {first}; from 2 on removed: {count}, left {left}")
right = ([1, 2], [2], [1], 1, [1])
sys.exit(list(seen.values()) != [([1, 2], [2], [1], 2, []), ([1, 2], [1, 2], [], 2, []), right])
PY

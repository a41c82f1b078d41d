#!/bin/sh
# dogpile.cache 1.5.0: cache_on_arguments() has one key for load("a b", "c") and load("a", "b c"), and for 1 and "1".
#
# A good guess: a function that is cached by its arguments gives for different arguments what the function gives for
# them, as functools.lru_cache does. The key holds each argument in a form of its own.
# What happens: the key is the name of the function and the arguments as texts with a space between them. Calls whose
# texts come out alike share one value: parts that hold spaces, 1 and "1", None and "None", a list and its text. The
# second call gets the value of the first, and the function is not run. With two arguments and a default, load("a b")
# and load("a", "b") are one key as well.
# Why it matters: names of teams, titles and addresses have spaces, and the wrong answer is a right answer to another
# question, for as long as the value lives and in every process that shares the backend. A test with words does not show
# it. Give function_key_generator a generator that uses repr() of the tuple. Who makes keys of several parts must encode
# each so that the parts can be told apart again.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check dogpile.cache==1.5.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from functools import lru_cache
from importlib.metadata import version

from dogpile.cache import make_region

region = make_region().configure("dogpile.cache.memory")


def arguments(*parts):
    return parts


pairs = [(("a b", "c"), ("a", "b c")), ((1,), ("1",)), ((None,), ("None",)), (("a b",), ("a", "b")), (("a",), ("b",))]
seen = []
for first, second in pairs:
    region.invalidate()
    answers = []
    for cached in region.cache_on_arguments()(arguments), lru_cache(arguments):
        cached(*first)
        answers.append(cached(*second))
    seen.append(answers)
print(f"dogpile.cache {version('dogpile.cache')}; a function that returns its arguments, called twice")
for (first, second), (dogpile, functools) in zip(pairs, seen):
    print(f"  {first}, then {second}: dogpile.cache answers {dogpile}, functools {functools}")
sys.exit(seen != [[("a b", "c"), ("a", "b c")], [(1,), ("1",)], [(None,), ("None",)], [("a b",), ("a", "b")],
                  [("b",), ("b",)]])
PY

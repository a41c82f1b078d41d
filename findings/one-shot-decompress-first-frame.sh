#!/bin/sh
# zstandard 0.25.0 and lz4 4.4.5: decompress() of two frames gives the first one only, and raises nothing for the rest.
#
# A good guess: a file that was written in pieces, each compressed by itself and appended, comes back whole, as with gzip,
# bz2 and lzma of Python and with the zstd and lz4 programs. Or the bytes left over are an error.
# What happens: the one-shot functions stop after the first frame and leave out all that follows. open() of the same packages
# reads every frame of the same bytes. lz4 tells how far it read if return_bytes_read is set. Only with
# allow_extra_data=False does ZstdDecompressor().decompress() raise, and the function of the module has no such option.
# Why it matters: appending a frame to a log or a snapshot is what these formats allow, and a reader that takes the file in
# one piece loses everything after the first append, with a value that looks whole. A check with one frame does not show
# it. Read with open(), or compare what was read with what there is; a store should keep lengths and sums of its own.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check zstandard==0.25.0 lz4==4.4.5
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import bz2
import gzip
import io
import lzma
import sys

import lz4
import lz4.frame
import zstandard


def strict(data):
    try:
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        return type(error).__name__


seen = {}
for name, compress, decompress, opened in (
    ("gzip", gzip.compress, gzip.decompress, gzip.open), ("bz2", bz2.compress, bz2.decompress, bz2.open),
    ("lzma", lzma.compress, lzma.decompress, lzma.open), ("lz4", lz4.frame.compress, lz4.frame.decompress, lz4.frame.open),
    ("zstandard", zstandard.ZstdCompressor().compress, zstandard.decompress, zstandard.open),
):
    first, second = compress(b"one "), compress(b"two")
    with opened(io.BytesIO(first + second), "rb") as file:
        seen[name] = decompress(first + second), file.read()
both = zstandard.ZstdCompressor().compress(b"one ") + zstandard.ZstdCompressor().compress(b"two")
refused = strict(both)
print(f"zstandard {zstandard.__version__}, lz4 {lz4.__version__}: b'one ' and b'two' compressed one by one, in one string")
for name in ("gzip", "bz2", "lzma", "lz4", "zstandard"):
    print(f"  {name}: decompress() {seen[name][0]}, open() {seen[name][1]}")
print(f"  zstandard with allow_extra_data=False: {refused}")
whole = (b"one two", b"one two")
sys.exit(([seen[name] for name in ("gzip", "bz2", "lzma")], [seen[name] for name in ("lz4", "zstandard")], refused)
         != ([whole] * 3, [(b"one ", b"one two")] * 2, "ZstdError"))
PY

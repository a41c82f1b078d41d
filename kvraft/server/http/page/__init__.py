"""The live page: one HTML file and what it loads, as files of this package.

There is no build step: what stands in `files/` is what a browser runs. All of it is read once, into a table of paths,
so that a request can name nothing that is not in the table. The page asks this node for everything, and the other
members for their `/status`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import attrs
from twisted.web.http import CACHED, NOT_ALLOWED, NOT_FOUND
from twisted.web.resource import Resource
from twisted.web.server import Request
from typing_extensions import override

from kvraft.config import Address

FILES: Final = Path(__file__).with_name("files")
"""Where the page's files stand."""
INDEX: Final = "index.html"
"""The one that is served at `/`."""

CONTENT_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
    }
)
"""The media types of the page's files. A file of another kind fails at the start, not in a browser."""
METHODS: Final = (b"GET", b"HEAD")
CACHING: Final = "no-cache"
"""A browser asks each time whether its copy is still the node's, so that an upgrade shows at once."""
ETAG_DIGITS: Final = 16
"""Hexadecimal digits of a file's digest in its entity tag."""


@attrs.frozen
class PageFile:
    """One file of the page."""

    body: bytes
    content_type: str
    etag: bytes


@cache
def read_files(folder: Path = FILES) -> Mapping[str, PageFile]:
    """Return what stands in a folder and below it, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:ETAG_DIGITS]
            found[path.relative_to(folder).as_posix()] = PageFile(
                body, CONTENT_TYPES[path.suffix], etag.encode("ascii")
            )
    return MappingProxyType(found)


def security_policy(members: Iterable[Address]) -> str:
    """Return the Content-Security-Policy of the page, which may also ask the nodes at these addresses.

    Nothing inline runs, nothing comes from elsewhere, no page frames this one, and no text becomes markup. A policy
    cannot name an IPv6 address, so with IPv6 addresses the page asks only its own node.
    """
    others = sorted(f"http://{address}" for address in members if ":" not in address.host)
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("connect-src 'self'", *others)),
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


class Page(Resource):
    """Serves the files of the page: below its own path each by its name, and as `front` the page itself."""

    isLeaf = True

    def __init__(self, http_addresses: Iterable[Address]) -> None:
        super().__init__()
        files = read_files()
        policy = security_policy(http_addresses)
        self.front: Final = _Files({"": files[INDEX]}, policy)
        self._files: Final = _Files(files, policy)

    @override
    def render(self, request: Request) -> bytes | int:
        """Serve what the path names."""
        return self._files.render(request)


class _Files(Resource):
    """Serves the files of a table by the rest of the request's path."""

    isLeaf = True

    def __init__(self, files: Mapping[str, PageFile], policy: str) -> None:
        super().__init__()
        self._files = files
        self._policy = policy

    @override
    def render(self, request: Request) -> bytes:
        """Return the file, or say that there is none."""
        if request.method not in METHODS:
            request.setHeader("Allow", b", ".join(METHODS))
            return _refuse(request, NOT_ALLOWED, "METHOD_NOT_ALLOWED", "the page is only read")
        name = b"/".join(request.postpath or ()).decode("utf-8", "replace")
        file = self._files.get(name)
        headers = {
            "Content-Security-Policy": self._policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": CACHING,
        }
        for header, value in headers.items():
            request.setHeader(header, value)
        if file is None:
            return _refuse(request, NOT_FOUND, "NOT_FOUND", "the page has no such file; it begins at /")
        request.setHeader("Content-Type", file.content_type)
        if request.setETag(b'"%s"' % file.etag) is CACHED:
            return b""
        return file.body


def _refuse(request: Request, status: int, code: str, message: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps({"error": code, "message": message}, separators=(",", ":")).encode() + b"\n"

"""The files of the live page as a browser is served them, without a browser."""

import re
from pathlib import Path
from typing import Final

import pytest

from kvraft.config import Address
from kvraft.server.http.page import FILES, read_files, security_policy
from tests.server.http.clients import Response, WebNode

OURS: Final = sorted(path for path in FILES.glob("*") if path.is_file())
MARKUP_FROM_TEXT: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
)
ELSEWHERE: Final = re.compile(r"https?://(?!www\.w3\.org/2000/svg\")[a-z0-9.]", re.IGNORECASE)
REFERENCE: Final = re.compile(r'(?:src|href|from) ?=? ?"(/page/|\./)([^"]+)"')


def serve(path: str, method: str = "GET", **headers: str) -> Response:
    """Ask a node for a part of its page."""
    return WebNode().ask(method, path, b"", **headers)


def test_the_page_is_served_at_the_root_with_its_type() -> None:
    """`/` is the page itself, as HTML."""
    front = serve("/")

    assert (front.status, front.body) == (200, (FILES / "index.html").read_bytes())
    assert front.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", sorted(read_files()))
def test_every_file_is_served_as_it_is_with_the_type_of_its_name(name: str) -> None:
    """A browser runs a module only if its type says that it is one."""
    served = serve(f"/page/{name}")

    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    assert (served.status, served.body) == (200, (FILES / name).read_bytes())
    assert served.headers["content-type"].split(";")[0] == kinds.get(Path(name).suffix, "text/plain")
    assert served.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/nothing.js",
        "/page/vendor",
        "/page/../page/app.js",
        "/page/vendor/../app.js",
        "/page/%2e%2e/__init__.py",
        "/page/..%2f__init__.py",
        "/page/%2Fetc%2Fpasswd",
        "/page//etc/passwd",
        "/page/app.js%00.css",
        "/page/__init__.py",
    ],
)
def test_what_is_not_in_the_table_is_not_found(path: str) -> None:
    """No path leads out of the folder: it is looked up in a table, and never on the disk."""
    assert serve(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_page_is_only_read(method: str) -> None:
    """Nothing can be sent to the page's files."""
    assert serve("/page/app.js", method).status == 405
    assert serve("/", method).status == 405


def test_head_is_answered_without_a_body() -> None:
    """HEAD returns the length and the type alone."""
    head = serve("/", "HEAD")

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str((FILES / "index.html").stat().st_size)


def test_a_browser_asks_each_time_and_is_sent_what_has_changed() -> None:
    """An upgraded node shows its new page at once, and an unchanged file is not sent again."""
    first = serve("/page/app.js")
    again = serve("/page/app.js", if_none_match=first.headers["etag"])

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status, again.body) == (304, b"")
    assert serve("/page/app.js", if_none_match='"another"').status == 200
    assert serve("/page/keys.js").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/index.html", "/page/nothing"])
def test_nothing_inline_runs_and_nobody_frames_the_page(path: str) -> None:
    """The policy allows the page's own files alone, and requests to the members that config.json names."""
    policy = dict(each.split(" ", 1) for each in serve(path).headers["content-security-policy"].split("; "))

    assert policy == {
        "default-src": "'self'",
        "connect-src": "'self' http://127.0.0.1:9080 http://127.0.0.1:9081",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    assert serve(path).headers["referrer-policy"] == "no-referrer"


def test_an_ipv6_address_is_left_out_of_the_policy() -> None:
    """A policy has no way to write one, and a browser would complain of it."""
    assert "connect-src 'self';" in security_policy([Address("::1", 9082)])


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_the_page_needs_nothing_from_elsewhere(path: Path) -> None:
    """It works without a network beyond the node, and makes no markup of text."""
    text = path.read_text(encoding="utf-8")

    assert not ELSEWHERE.search(text)
    assert not MARKUP_FROM_TEXT.search(text)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_what_a_file_of_the_page_names_is_there(path: Path) -> None:
    """A module that is renamed is renamed wherever it is imported."""
    named = {name for _, name in REFERENCE.findall(path.read_text(encoding="utf-8"))}

    assert named <= set(read_files())


def test_the_page_has_nothing_inline() -> None:
    """The policy would refuse it."""
    text = (FILES / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", text)


def test_every_element_that_a_script_asks_for_is_in_the_page() -> None:
    """Scripts find the page's parts by their ids."""
    text = (FILES / "index.html").read_text(encoding="utf-8")
    wanted = {
        name
        for path in FILES.glob("*.js")
        for name in re.findall(r'byId\("([a-z-]+)"\)', path.read_text(encoding="utf-8"))
    }

    assert wanted
    assert wanted <= set(re.findall(r'\bid="([a-z-]+)"', text))


def test_the_vendored_chart_says_its_version_and_its_licence() -> None:
    """What is not ours is named, as it came."""
    vendor = FILES / "vendor"
    note = (vendor / "README.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"uPlot (\d+\.\d+\.\d+)", note)

    assert f"v{version}" in (vendor / "uPlot.iife.min.js").read_text(encoding="utf-8")[:400]
    assert "MIT" in (vendor / "uPlot.LICENSE.txt").read_text(encoding="utf-8")

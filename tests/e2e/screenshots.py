"""Makes the pictures of the live page in docs/images: `make screenshots`.

It runs three nodes under some load, kills the leader once and brings it back, so that there is something to see.
"""

import itertools
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

from kvraft.client import Client, ClientError
from tests.e2e.browser import find_program, open_page, running_browser
from tests.e2e.processes import HOST, REPOSITORY, Cluster

IMAGES: Final = REPOSITORY / "docs" / "images"
PORTS: Final = (8080, 8081, 8082)
HTTP_PORTS: Final = (9080, 9081, 9082)
LOAD_S: Final = 110.0
"""So long the nodes carry load before the pictures are taken: the charts need something to show."""
WIDE: Final = {"width": 1180, "height": 1000}
PHONE: Final = {"width": 390, "height": 844}
PAUSE_S: Final = 0.01
BATCH: Final = 12
SERVICES: Final = ("api", "billing", "mail", "search", "web")


def fill(client: Client) -> None:
    """Write keys that people would have."""
    for number, name in enumerate(("kmarulab", "ada", "grace", "alan", "barbara", "edsger", "frances", "donald")):
        client.set(f"user:{100 + number}", name)
    for service, number in itertools.product(SERVICES, (1, 2)):
        place = {"host": f"10.0.0.{20 + number}", "port": 8000 + number, "healthy": True}
        client.set(f"service/{service}/{number}", json.dumps(place))
    client.set("config/flags", '{"beta": true, "limit": 250}')


def give_history(client: Client) -> None:
    """Write the key whose history is shown; right before that, since a history keeps the last 10,000 revisions."""
    for weight in (10, 50, 100):
        place = {"host": "10.0.0.21", "port": 8001, "healthy": True, "weight": weight, "tags": ["blue", "canary"]}
        client.set("service/web/1", json.dumps(place))


def load(client: Client, until: float) -> None:
    """Write and read for a while."""
    for number in itertools.count():
        if time.monotonic() > until:
            return
        try:
            for each in range(BATCH):
                client.set(f"sensor/{each}", f"{number}")
                client.get(f"sensor/{each}")
        except ClientError:
            pass  # the leader has just been killed
        time.sleep(PAUSE_S * (1 + (number // 300) % 3))


def take(page: Page, name: str, *, whole: bool = False) -> None:
    """Take one picture."""
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, full_page=whole, animations="disabled", caret="hide")
    sys.stdout.write(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size // 1024} KiB\n")


def take_all(url: str) -> None:
    """Take the pictures in both themes, and at the width of a phone."""
    with running_browser() as browser:
        for theme in ("light", "dark"):
            context = browser.new_context(viewport=WIDE, color_scheme=theme)  # type: ignore[arg-type]
            page = open_page(context, url, [])
            page.wait_for_selector("#chart-latency canvas")
            page.wait_for_timeout(2_500)
            suffix = "" if theme == "light" else "-dark"
            take(page, f"page-cluster{suffix}")
            page.goto(f"{url}#keys?prefix=service%2F&key=service%2Fweb%2F1")
            page.click("#history summary")
            page.wait_for_selector("#revisions li >> nth=2")
            page.wait_for_timeout(500)
            take(page, f"page-keys{suffix}")
            context.close()
        page = open_page(browser.new_context(viewport=PHONE), url, [])  # type: ignore[arg-type]
        page.wait_for_selector("#chart-latency canvas")
        page.wait_for_timeout(2_500)
        take(page, "page-phone")


def main() -> None:
    """Make all pictures."""
    if find_program() is None:
        sys.exit("Chromium is not installed. On Debian and Ubuntu: apt install chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        for peer, port, http in zip(cluster.config["peers"], PORTS, HTTP_PORTS, strict=True):
            peer.update(address=f"{HOST}:{port}", http=f"{HOST}:{http}")
        cluster.write_config()
        cluster.start()
        cluster.await_leader()
        with Client(",".join(cluster.hint(node) for node in cluster.ids)) as client:
            fill(client)
            writer = threading.Thread(target=load, args=(client, time.monotonic() + LOAD_S + 60), daemon=True)
            writer.start()
            time.sleep(LOAD_S / 2)
            leader = cluster.await_leader()
            cluster.kill(leader)
            time.sleep(2)
            cluster.start(leader)
            time.sleep(LOAD_S / 2)
            give_history(client)
            take_all(f"http://{HOST}:{HTTP_PORTS[cluster.await_leader()]}/")


if __name__ == "__main__":
    main()

"""What a person does on the live page while nodes are killed: one session, which reports what it saw.

`python -m tests.e2e.page_session FACTS` reads facts of the cluster, as JSON, from the file FACTS, and prints what it
has seen, as JSON. It is started by test_page.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
from playwright.sync_api import Page

from tests.e2e.browser import await_true, open_page, running_browser
from tests.e2e.clients import ask, parse_address, wait_until

PHONE: Final = {"width": 390, "height": 844}
TYPED: Final = "typed by hand"
TYPED_LATER: Final = "typed while somebody else was faster"
LED_BY_ANOTHER: Final = "(old) => document.querySelector('#tile-leader .value').textContent !== old"
TELLS_TERM: Final = """(term) =>
  RegExp(`(leads|in) term ${term}(?![0-9])`).test(document.getElementById('events').textContent)"""
"""Whether the last hour names the leader of a term."""
SHOWS_ANOTHER: Final = """(old) => {
  const tile = document.querySelector('#tile-leader .value').textContent;
  const row = [...document.querySelectorAll('#members tr')].find((each) => each.textContent.includes(old));
  return tile.startsWith('Node') && tile !== old && row.dataset.health === 'silent';
}"""
"""Whether another node leads, and the old one is marked."""
TELL_THEIR_SIZE: Final = (
    "() => [...document.querySelectorAll('#members tr')].every((row) => row.textContent.includes('iB'))"
)
"""Whether each member has answered this browser."""
PROGRAMS: Final = ("nc", "curl", "redis-cli", "Python")
"""Those for which the page shows lines to copy."""
AWKWARD: Final = 'it\'s "two" lines,\n$HOME \\n, and `ü`'
"""A value that means something else to a shell unless it is quoted."""
UNLABELLED: Final = Path(__file__).with_name("page_names.js").read_text(encoding="utf-8")
"""What a screen reader would find without a name, and what is named and is not there."""
FAINT: Final = Path(__file__).with_name("page_contrast.js").read_text(encoding="utf-8")
"""Texts whose contrast is below that of WCAG 2.2, level AA (1.4.3)."""


@attrs.define
class Session:
    """One browser, and what it has seen."""

    facts: dict[str, Any]
    page: Page
    seen: dict[str, Any] = attrs.field(factory=dict)

    def line(self, line: str) -> dict[str, Any]:
        """Ask the present leader: a busy machine may have changed it."""

        def answer() -> dict[str, Any] | None:
            told = ask(parse_address(self.facts["addresses"][self.leader()]), line)
            return None if told.get("error") == "NOT_LEADER" else told

        return wait_until(f"a leader that answers {line}", answer)

    def leader(self) -> int:
        """Which node leads, as the page says; it waits until one does."""
        await_true(self.page, "() => document.querySelector('#tile-leader .value').textContent.startsWith('Node')")
        return int(self.text("#tile-leader .value").split()[-1])

    def await_text(self, selector: str, text: str) -> None:
        """Wait until an element says something."""
        says = "([selector, text]) => Boolean(document.querySelector(selector)?.textContent.includes(text))"
        await_true(self.page, says, [selector, text])

    def text(self, selector: str) -> str:
        """What an element says."""
        return self.page.text_content(selector) or ""

    # --- what is done ------------------------------------------------------------------------------------------------

    def look_at_the_cluster(self) -> None:
        """The first view."""
        self.await_text("#tile-healthy", "3 of 3")
        self.await_text("#tile-leader", f"Node {self.leader()}")
        self.await_text("#tile-margin", "1")
        await_true(self.page, "() => document.querySelector('#chart-throughput canvas') !== null")
        await_true(self.page, TELL_THEIR_SIZE)
        self.seen["members"] = self.page.locator("#members tr").all_inner_texts()
        self.seen["charts"] = [
            self.page.get_attribute(f"#chart-{name}", "aria-label") for name in ("throughput", "latency")
        ]

    def edit(self) -> None:
        """Find a key by its prefix, with the keyboard alone, and save another value."""
        self.line("SET page/edited before")
        self.line("SET page/other untouched")
        self.page.click("#nav-keys")
        self.page.keyboard.press("/")
        self.page.keyboard.type("page/")
        self.await_text("#keys", "page/other")
        self.page.keyboard.press("Enter")
        self.page.focus("#keys button")
        self.page.keyboard.press("Enter")
        self.await_text("#key-name", "page/edited")
        await_true(self.page, "() => document.getElementById('value').value === 'before'")
        self.page.fill("#value", TYPED)
        self.page.focus("#value")
        self.page.keyboard.press("Control+s")
        self.await_text("#notice", "Saved, as revision")
        self.seen["stored"] = self.line("GET page/edited META")
        self.seen["snippets"] = self.page.locator("#snippets code").all_inner_texts()

    def be_refused(self) -> None:
        """Type on while somebody else writes the key, and save over neither."""
        self.page.fill("#value", TYPED_LATER)
        self.line("SET page/edited from somebody else")
        self.page.click("#save")
        self.await_text("#notice", "somebody has changed this key")
        self.seen["refusal"] = self.text("#notice")
        self.seen["field after refusal"] = self.page.input_value("#value")
        self.seen["stored after refusal"] = self.line("GET page/edited")
        self.seen["role of notice"] = self.page.get_attribute("#notice", "role")
        self.page.click("text=page/other")
        self.await_text("#key-name", "page/other")
        self.page.click("#keys button:first-of-type >> nth=0")
        self.await_text("#key-name", "page/edited")
        self.await_text("#notice", "not saved yet")
        self.seen["field after another key"] = self.page.input_value("#value")
        self.page.click("#notice >> text=Save mine over")
        self.await_text("#notice", "Saved, as revision")
        self.seen["stored over it"] = self.line("GET page/edited")
        self.page.click("#history summary")
        self.page.wait_for_selector("#revisions li >> nth=2")
        self.seen["history"] = self.page.locator("#revisions code").all_inner_texts()

    def copy_lines(self) -> None:
        """Run the lines that are shown for a new key: each program writes one of its own, then reads it."""
        self.seen["written by"], self.seen["read by"] = {}, {}
        for program in PROGRAMS:
            key = f"page/{program}"
            self.page.click("#new-key")
            self.page.fill("#new-key-name", key)
            self.page.keyboard.press("Enter")
            self.await_text("#key-name", key)
            await_true(self.page, "() => !document.getElementById('value').readOnly")
            self.page.fill("#value", AWKWARD)
            self.run_line(program, "What")
            self.seen["written by"][program] = self.line(f"GET {key}").get("value")
            self.page.click("#revert")
            self.await_text("#draft-mark", "")
            self.seen["read by"][program] = self.run_line(program, "This key")

    def run_line(self, program: str, caption: str) -> str:
        """Run the line that is shown for a program, once the caption says what it does; return what it prints."""
        self.await_text("#snippets-caption", caption)
        shown = self.page.locator(".snippet", has=self.page.locator(f"span:text-is('{program}')"))
        text = shown.locator("code").inner_text()
        command = [sys.executable, "-c", text] if program == "Python" else ["bash", "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def open_key(self, key: str) -> None:
        """Choose a key from the list."""
        self.page.fill("#prefix", key)
        self.await_text("#keys-note", "1 key")
        self.await_text("#keys", key)
        self.page.click("#keys button")
        self.await_text("#key-name", key)

    def save_as_json_and_hex(self) -> None:
        """Edit a value in its two other forms; what is neither is not saved, and stays in the field."""
        self.line('SET page/form {"a":[1,2.50]}')
        self.open_key("page/form")
        await_true(self.page, "() => document.querySelector('[name=form][value=json]').checked")
        self.seen["laid out"] = self.page.input_value("#value")
        refused = self.seen["refused forms"] = {}
        for form, wrong, right in (("json", '{"a":', '{"a":\n[1,2.50,3]}'), ("hex", "6b 7", "6b 76")):
            self.page.check(f"[name=form][value={form}]", force=True)
            self.page.fill("#value", wrong)
            self.page.click("#save")
            self.await_text("#notice", "Not saved")
            refused[form] = [self.text("#notice"), self.page.input_value("#value") == wrong]
            self.page.fill("#value", right)
            self.page.click("#save")
            self.await_text("#notice", "Saved, as revision")
            refused[form].append(self.line("GET page/form").get("value"))

    def keep_over_a_reload(self) -> None:
        """Type, and load the page anew without saving."""
        self.page.on("dialog", lambda dialog: dialog.accept())  # the browser asks whether to leave
        self.page.fill("#value", "74 79 70 65 64")
        self.page.reload()
        await_true(self.page, "() => document.getElementById('value').value !== ''")
        self.seen["field after reload"] = self.page.input_value("#value")
        self.page.click("#revert")
        self.await_text("#draft-mark", "")

    def delete(self) -> None:
        """Delete a key that somebody has just written, and then as it is."""
        self.line("SET page/doomed one")
        self.open_key("page/doomed")
        await_true(self.page, "() => document.getElementById('value').value === 'one'")
        self.page.fill("#value", "mine")  # what was begun from `one` keeps its revision as the condition
        self.page.click("#delete")
        self.line("SET page/doomed two")
        self.page.click("#delete-yes")
        self.await_text("#notice", "somebody has changed this key")
        self.seen["refused delete"] = [self.text("#notice"), self.line("GET page/doomed").get("value")]
        self.page.click("#notice >> text=Take theirs")
        await_true(self.page, "() => document.getElementById('value').value === 'two'")
        self.page.click("#delete")
        self.page.click("#delete-yes")
        self.await_text("#notice", "Deleted")
        self.seen["deleted"] = [self.line("GET page/doomed"), self.page.input_value("#value")]

    def show_markup_as_text(self) -> None:
        """A value that looks like a page is shown, and does nothing."""
        self.line("SET page/<img> <img src=x onerror=document.title='run'><script>1</script>")
        self.page.fill("#prefix", "page/<")
        self.await_text("#keys", "page/<img>")
        self.await_text("#keys-note", "1 key")
        self.page.click("#keys button")
        self.await_text("#key-name", "page/<img>")
        await_true(self.page, "() => document.getElementById('value').value.startsWith('<')")
        self.seen["markup"] = self.page.input_value("#value")

    def check_access(self) -> None:
        """Names, roles, contrast, and the width of a phone, in both views and themes."""
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)
            for view in ("cluster", "keys"):
                self.page.click(f"#nav-{view}")
                self.seen[f"unlabelled {view}"] = self.page.evaluate(UNLABELLED)
                self.seen[f"faint {theme} {view}"] = self.page.evaluate(FAINT)
        whole = self.page.viewport_size
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        for view in ("cluster", "keys"):
            self.page.click(f"#nav-{view}")
            with suppress(TimeoutError):  # the charts are drawn for their new width in a later frame
                await_true(self.page, "width => document.documentElement.scrollWidth <= width", PHONE["width"])
            self.seen[f"width {view}"] = self.page.evaluate("document.documentElement.scrollWidth")
        self.page.set_viewport_size(whole)  # type: ignore[arg-type]

    def lose_the_leader(self) -> None:
        """The leader is killed: how long until the page shows it, and the new leader."""
        self.page.click("#nav-keys")
        self.page.fill("#value", TYPED_LATER)
        if self.leader() == self.facts["page"]:  # the page goes on with its own node first
            self.line(f"TRANSFER {(self.facts['page'] + 1) % 3}")
            await_true(self.page, LED_BY_ANOTHER, f"Node {self.facts['page']}")
        self.seen["leader"] = leader = self.leader()
        self.page.click("#nav-cluster")
        begun = time.monotonic()
        os.kill(self.facts["pids"][leader], signal.SIGKILL)
        await_true(self.page, SHOWS_ANOTHER, f"Node {leader}")
        self.seen["seconds until it is shown"] = time.monotonic() - begun
        self.seen["leads then"] = self.text("#tile-leader .value")
        self.await_text("#tile-healthy", "2 of 3")
        self.seen["margin then"] = self.text("#tile-margin .value")
        self.await_text("#events", f"lost its connection with node {leader}")
        await_true(self.page, TELLS_TERM, self.text("#tile-term .value"))
        self.page.select_option("#events-filter", "election")
        self.seen["elections"] = self.page.locator("#events .text").all_inner_texts()

    def lose_the_own_node(self) -> None:
        """The node that serves the page is killed too."""
        os.kill(self.facts["pids"][self.facts["page"]], signal.SIGKILL)
        self.page.wait_for_selector("#gone:not([hidden])")
        self.await_text("#gone", "does not answer")
        self.await_text("#tile-healthy", "1 of 3")
        self.seen["banner"] = self.text("#gone")
        self.seen["links"] = self.page.locator("#gone a").evaluate_all("(all) => all.map((each) => each.href)")
        self.seen["margin at last"] = self.text("#tile-margin .value")
        self.page.click("#nav-keys")
        self.page.click("#save")
        self.await_text("#notice", "What you typed is still here")
        self.seen["field at last"] = self.page.input_value("#value")


def main() -> None:
    """Do all of it, in one browser."""
    facts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    errors: list[str] = []
    with running_browser() as browser:
        context = browser.new_context(viewport={"width": 1180, "height": 900})
        session = Session(facts, open_page(context, facts["url"], errors))
        try:
            session.look_at_the_cluster()
            session.edit()
            session.be_refused()
            session.copy_lines()
            session.save_as_json_and_hex()
            session.keep_over_a_reload()
            session.delete()
            session.show_markup_as_text()
            session.check_access()
            session.lose_the_leader()
            session.lose_the_own_node()
        except Exception:  # noqa: BLE001 - it is reported, with what was seen so far
            session.seen["failed"] = f"{traceback.format_exc()[-1500:]}\n{' '.join(session.text('main').split())[:600]}"
        session.seen["errors"] = errors
        session.seen["title"] = session.page.title()
    print(json.dumps(session.seen))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()

// The revisions of a key that are kept, newest first.

import { getHistory } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { FORMS } from "./forms.js";
import { bytes as size, explain, plural } from "./words.js";

const SHOWN_CHARACTERS_MAX = 160;

export class History {
  #asked = 0;

  constructor(restore) {
    this.restore = restore;
    this.panel = byId("history");
    this.list = byId("revisions");
    this.note = byId("history-note");
    this.panel.addEventListener("toggle", () => this.panel.open && this.#load());
  }

  open(key, item) {
    this.key = key;
    this.current = item?.revision ?? 0;
    this.#asked += 1;
    if (this.panel.open) this.#load();
    else this.list.replaceChildren();
  }

  async #load() {
    const asked = (this.#asked += 1);
    try {
      const revisions = await getHistory(this.key, this.current);
      if (asked !== this.#asked) return;
      this.list.replaceChildren(...revisions.map((item) => this.#item(item)));
      setText(this.note, revisions.length ? `${plural(revisions.length, "revision")} kept, newest first.` : "No revision of this key is kept.");
    } catch (failed) {
      if (asked === this.#asked) setText(this.note, `The history cannot be read. ${explain(failed)}`);
    }
  }

  #item(item) {
    const isNow = item.revision === this.current;
    const isDeleted = item.value === null;
    const button = el("button", { type: "button", class: "quiet small", text: "Put in the field", "aria-label": `Put the value of revision ${item.revision} in the field` });
    button.addEventListener("click", () => this.restore(item));
    return el(
      "li",
      { data: { now: isNow ? "yes" : "no" } },
      el("span", { class: "revision", text: String(item.revision) }),
      el("code", { class: isDeleted ? "gone" : "", text: isDeleted ? "deleted" : shorten(FORMS.text.show(item.value) ?? FORMS.hex.show(item.value)) }),
      el("span", { class: "source", text: isDeleted ? "" : isNow ? "stored now" : size(item.value.length) }),
      isNow || isDeleted ? null : button,
    );
  }
}

const shorten = (text) => (text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text);

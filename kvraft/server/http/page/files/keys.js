// The list of keys: by prefix, page by page, and by the parts that their names have in common.

import { listKeys } from "./api.js";
import { percentDecode, percentEncode, showKey, toBytes, toText } from "./bytes.js";
import { byId, el, setText } from "./dom.js";
import { explain, plural, whole } from "./words.js";

const PAGE_KEYS = 100;
const TYPING_PAUSE_MS = 250;
const REFRESH_MS = 2000;
const SEPARATORS = /[/:.]/;
const FOLDERS_MAX = 12;

/** Tells "open" with the key that was chosen, and "prefix" when another prefix is shown. */
export class KeyList extends EventTarget {
  #keys = [];
  #cursor = null;
  #typing = null;
  #asked = 0;
  #refreshedAt = 0;

  constructor(drafts) {
    super();
    this.drafts = drafts;
    this.prefix = "";
    this.selected = null;
    this.field = byId("prefix");
    this.list = byId("keys");
    this.more = byId("more");
    this.note = byId("keys-note");
    this.field.addEventListener("input", () => this.#typed());
    byId("prefix-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.show(percentEncode(toBytes(this.field.value)));
    });
    this.more.addEventListener("click", () => this.#load(true));
    this.list.addEventListener("keydown", (event) => this.#move(event));
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.show(percentEncode(toBytes(this.field.value)), false), TYPING_PAUSE_MS);
  }

  /** Show the keys with a prefix. */
  async show(prefix, isNamed = true) {
    this.prefix = prefix;
    const text = toText(percentDecode(prefix));
    if (isNamed && text !== null && this.field.value !== text) this.field.value = text;
    this.dispatchEvent(new Event("prefix"));
    await this.#load(false);
  }

  /** Look again, for the store has changed; not more often than every REFRESH_MS, and not where pages were added. */
  refresh() {
    if (performance.now() - this.#refreshedAt < REFRESH_MS || this.#keys.length > PAGE_KEYS) return;
    this.#load(false);
  }

  async #load(isMore) {
    const asked = (this.#asked += 1);
    this.#refreshedAt = performance.now();
    const prefix = this.prefix;
    try {
      const page = await listKeys(prefix, { limit: PAGE_KEYS, cursor: isMore ? this.#cursor : null });
      if (asked !== this.#asked) return; // another prefix was asked for meanwhile
      const keys = page.keys.map(percentEncode);
      this.#keys = isMore ? [...this.#keys, ...keys] : keys;
      this.#cursor = page.cursor;
      this.#draw();
      this.#sayCount(page.count);
    } catch (failed) {
      if (asked === this.#asked) this.#say(`The keys cannot be listed. ${explain(failed)}`, true);
      if (isMore && failed.code === "COMPACTED") this.#load(false);
    }
  }

  #sayCount(count) {
    const shown = this.#keys.length;
    if (this.#cursor !== null) this.#say(`the first ${whole(shown)} of ${whole(count)} keys`);
    else if (shown) this.#say(plural(shown, "key"));
    else this.#say(this.prefix ? "No key begins so." : "The store is empty. Make the first key with “New key”.");
  }

  #say(text, isBad = false) {
    setText(this.note, text);
    this.note.dataset.mood = isBad ? "bad" : "plain";
  }

  // --- drawing ------------------------------------------------------------------------------------------------------

  /** Mark the key that is open, and those with drafts. */
  mark(selected = this.selected) {
    this.selected = selected;
    for (const button of this.list.querySelectorAll("button")) this.#dress(button);
  }

  #dress(button) {
    const { key } = button.dataset;
    if (key === this.selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const hasDraft = this.drafts.has(key);
    button.classList.toggle("has-draft", hasDraft);
    button.title = hasDraft ? "What was typed here is not saved" : "";
  }

  #draw() {
    const old = new Map([...this.list.children].map((item) => [item.firstElementChild.dataset.key, item]));
    const focused = document.activeElement?.dataset?.key;
    const items = this.#keys.map((key) => old.get(key) ?? this.#item(key));
    const isSame = items.length === this.list.children.length && items.every((item, at) => this.list.children[at] === item);
    if (!isSame) {
      this.list.replaceChildren(...items);
      if (focused !== undefined) this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    }
    this.more.hidden = this.#cursor === null;
    this.#drawFolders();
    this.mark();
  }

  #item(key) {
    const text = showKey(percentDecode(key));
    const shown = text.trim() === text ? text : `“${text}”`;
    return el("li", {}, el("button", { type: "button", data: { key }, text: shown, on: { click: () => this.#open(key) } }));
  }

  #open(key) {
    this.dispatchEvent(new CustomEvent("open", { detail: key }));
  }

  /** Arrows, Home and End move through the list. */
  #move(event) {
    const buttons = [...this.list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  }

  /** Buttons for the way back, and for the next parts of the names that several keys share. */
  #drawFolders() {
    const text = toText(percentDecode(this.prefix));
    const crumbs = text === null ? [] : prefixesOf(text);
    const folders = text === null ? [] : this.#folders(text);
    const button = (prefix, label, isCurrent) =>
      el("button", {
        type: "button",
        class: "chip",
        text: label,
        "aria-current": isCurrent ? "true" : null,
        on: { click: () => this.show(percentEncode(toBytes(prefix))) },
      });
    const all = button("", "All keys", text === "");
    byId("folders").replaceChildren(
      all,
      ...crumbs.map((each) => button(each.prefix, each.label, each.prefix === text)),
      ...folders.map(([prefix, count]) => button(prefix, `${prefix.slice(text.length)} ${count}${this.#cursor ? "+" : ""}`, false)),
    );
  }

  #folders(prefix) {
    const counts = new Map();
    for (const key of this.#keys) {
      const rest = toText(percentDecode(key))?.slice(prefix.length);
      const end = rest?.search(SEPARATORS) ?? -1;
      if (end < 0 || end === rest.length - 1) continue;
      const folder = prefix + rest.slice(0, end + 1);
      counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
    return [...counts].filter(([, count]) => count > 1).slice(0, FOLDERS_MAX);
  }
}

/** Each prefix of a text that ends with a separator. */
function prefixesOf(text) {
  const parts = text.split(/(?<=[/:.])/);
  const found = [];
  let prefix = "";
  for (const part of parts.filter(Boolean)) {
    prefix += part;
    found.push({ prefix, label: part });
  }
  return found;
}

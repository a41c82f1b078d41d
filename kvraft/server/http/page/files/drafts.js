// What was typed and is not saved, by key. It outlives a look at another key, and a reload of the page.

const STORED_AS = "kvraft draft ";
/** Longer texts are kept in memory alone. */
const STORED_CHARACTERS_MAX = 256 * 1024;

export class Drafts {
  #drafts = new Map();

  constructor() {
    try {
      for (const name of Object.keys(sessionStorage)) {
        if (name.startsWith(STORED_AS)) this.#drafts.set(name.slice(STORED_AS.length), JSON.parse(sessionStorage.getItem(name)));
      }
    } catch {
      // a browser that keeps nothing: then a reload asks first
    }
    addEventListener("beforeunload", (event) => {
      if (this.#drafts.size) event.preventDefault();
    });
  }

  has(key) {
    return this.#drafts.has(key);
  }

  get(key) {
    return this.#drafts.get(key) ?? null;
  }

  /** Keep the text of a field, in which form it stands, and the revision that it was made from. */
  keep(key, draft) {
    this.#drafts.set(key, draft);
    try {
      if (draft.text.length <= STORED_CHARACTERS_MAX) sessionStorage.setItem(STORED_AS + key, JSON.stringify(draft));
    } catch {
      // full, or forbidden: memory has it
    }
  }

  drop(key) {
    this.#drafts.delete(key);
    try {
      sessionStorage.removeItem(STORED_AS + key);
    } catch {
      // nothing was kept there
    }
  }
}

// One key: its value, edited and deleted only where it still has the revision that was shown.

import * as api from "./api.js";
import { equalBytes, percentDecode, showKey } from "./bytes.js";
import { announce, byId, el, setText } from "./dom.js";
import { bestForm, FORMS } from "./forms.js";
import { History } from "./history.js";
import { bytes as size, duration, explain } from "./words.js";

/** A longer value is shown in part, and not edited here: a text field of that size stops the browser. */
const EDITED_BYTES_MAX = 1024 * 1024;
const SHOWN_BYTES_MAX = 4096;

const NOTHING = new Uint8Array();

/** Tells "change" when what a line to copy depends on has changed, and "saved" when the key was written or removed. */
export class Editor extends EventTarget {
  #asked = 0;
  #shown = ""; // what the field would hold had nobody typed
  #isBusy = false;

  constructor(drafts) {
    super();
    this.drafts = drafts;
    this.key = null;
    this.item = null;
    this.base = 0;
    this.form = "text";
    this.field = byId("value");
    this.notice = byId("notice");
    this.history = new History((item) => this.#restore(item));
    this.field.addEventListener("input", () => this.#typed());
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.save();
      }
    });
    for (const radio of document.querySelectorAll("input[name=form]")) {
      radio.addEventListener("change", () => this.#changeForm(radio.value));
    }
    byId("save").addEventListener("click", () => this.save());
    byId("revert").addEventListener("click", () => this.#revert());
    byId("delete").addEventListener("click", () => this.#askDelete());
    byId("delete-yes").addEventListener("click", () => this.#delete());
    byId("delete-no").addEventListener("click", () => byId("delete-dialog").close());
  }

  // --- what is open -------------------------------------------------------------------------------------------------

  /** Show a key; what was typed there before and not saved stands in the field again. */
  async open(key, { isNew = false } = {}) {
    const asked = (this.#asked += 1);
    this.key = key;
    this.#tell(null);
    byId("editor").hidden = false;
    byId("editor-empty").hidden = true;
    setText(byId("key-name"), showKey(percentDecode(key)));
    this.field.readOnly = true;
    let item;
    try {
      item = await api.getKey(key);
    } catch (failed) {
      if (asked === this.#asked) this.#openWithout(failed);
      return;
    }
    if (asked !== this.#asked) return;
    this.#take(item);
    const draft = this.drafts.get(key);
    if (draft) this.#takeDraft(draft);
    else if (item === null && !isNew) this.#tell("warn", "This key is not there. Saving creates it.");
    this.history.open(key, item);
    if (isNew) this.field.focus();
  }

  /** The value cannot be read; what was typed is there all the same. */
  #openWithout(failed) {
    this.#take(null);
    const draft = this.drafts.get(this.key);
    if (draft) this.#putInField(draft.form, draft.text, draft.base);
    this.field.readOnly = draft === null;
    this.history.open(this.key, null);
    this.#tell("bad", `The value cannot be read. ${explain(failed)}`, this.#button("Try again", () => this.open(this.key)));
  }

  close() {
    this.#asked += 1;
    this.key = null;
    byId("editor").hidden = true;
    byId("editor-empty").hidden = false;
  }

  #take(item) {
    this.item = item;
    this.base = item?.revision ?? 0;
    this.toldRevision = null;
    const isLong = (item?.value.length ?? 0) > EDITED_BYTES_MAX;
    this.form = isLong ? "hex" : bestForm(item?.value ?? NOTHING);
    const value = isLong ? item.value.subarray(0, SHOWN_BYTES_MAX) : (item?.value ?? NOTHING);
    this.#shown = FORMS[this.form].show(value);
    this.field.value = this.#shown;
    this.field.readOnly = isLong;
    this.isLong = isLong;
    byId("ttl").value = item?.ttl ? Math.ceil(item.ttl) : "";
    byId("ttl-row").hidden = Boolean(item?.lease);
    this.#dress();
    if (isLong) this.#tell("plain", `The value has ${size(item.value.length)}: its first ${size(SHOWN_BYTES_MAX)} are shown, and it is not edited here.`);
  }

  #takeDraft(draft) {
    this.#putInField(draft.form, draft.text, draft.base);
    if (draft.base !== (this.item?.revision ?? 0)) this.#tellConflict("warn", "What you typed is not saved yet, and somebody has changed the key meanwhile.", this.item);
    else this.#tell("plain", "This is what you typed before; it is not saved yet.");
  }

  #putInField(form, text, base) {
    const shown = FORMS[form].show(this.item?.value ?? NOTHING);
    this.form = form;
    this.#shown = shown ?? "";
    this.field.value = text;
    this.base = base;
    this.#dress();
  }

  /** Whether somebody has typed what is not saved. */
  get isTouched() {
    return this.key !== null && this.field.value !== this.#shown;
  }

  /** The bytes that the field stands for; throws with words where it stands for none. */
  value() {
    const original = this.item?.value ?? NOTHING;
    return this.isTouched ? FORMS[this.form].read(this.field.value, original) : original;
  }

  // --- typing -------------------------------------------------------------------------------------------------------

  #typed() {
    if (this.isTouched) this.drafts.keep(this.key, { form: this.form, text: this.field.value, base: this.base });
    else this.drafts.drop(this.key);
    this.#dress();
  }

  #changeForm(form) {
    try {
      const shown = FORMS[form].show(this.value());
      if (shown === null) throw new Error(FORMS[form].why);
      const baseline = FORMS[form].show(this.item?.value ?? NOTHING);
      this.form = form;
      this.#shown = this.isTouched ? (baseline ?? "") : shown;
      this.field.value = shown;
      this.#typed();
      this.#tell(null);
    } catch (wrong) {
      this.#tell("warn", wrong.message);
    }
    this.#dress();
  }

  /** Back to what is stored; what was typed can be put back. */
  #revert() {
    const typed = { form: this.form, text: this.field.value, base: this.base };
    this.drafts.drop(this.key);
    this.#take(this.item);
    this.#tell("plain", "This is what is stored.", this.#button("Put back what I typed", () => {
      this.#putInField(typed.form, typed.text, typed.base);
      this.#typed();
      this.#tell(null);
    }));
    this.field.focus();
  }

  #restore(item) {
    const form = this.form !== "json" && FORMS[this.form].show(item.value) !== null ? this.form : bestForm(item.value);
    const typed = { form: this.form, text: this.field.value, base: this.base };
    const wasTouched = this.isTouched;
    this.#putInField(form, FORMS[form].show(item.value), this.base);
    this.#typed();
    const back = this.#button("Put back what I typed", () => { this.#putInField(typed.form, typed.text, typed.base); this.#typed(); this.#tell(null); });
    this.#tell("plain", `This is the value of revision ${item.revision}. Save it to have it back.`, ...(wasTouched ? [back] : []));
    this.field.focus();
  }

  // --- writing ------------------------------------------------------------------------------------------------------

  async save() {
    if (this.#isBusy || this.key === null || byId("save").disabled) return;
    const { key, base } = this;
    let value;
    try {
      value = this.value();
    } catch (wrong) {
      this.#tell("bad", `Not saved. ${wrong.message}`);
      return;
    }
    const ttl = byId("ttl").value;
    const typed = this.field.value;
    await this.#attempt(key, async () => {
      const revision = await api.putKey(key, value, base, { ttl, lease: this.item?.lease });
      this.#saved(key, { value, typed }, revision);
    }, { value, typed, base, verb: "saved" });
  }

  #saved(key, { value, typed }, revision) {
    if (key !== this.key) { // another key was opened meanwhile
      if (this.drafts.get(key)?.text === typed) this.drafts.drop(key);
      return;
    }
    this.item = { ...(this.item ?? { created: revision, version: 0, ttl: null, lease: null }), value, revision };
    this.base = revision ?? this.base;
    this.#shown = typed;
    this.#typed(); // what was typed while it was saved is a draft of the new revision
    this.#tell("good", revision ? `Saved, as revision ${revision}.` : "Saved.");
    this.#settle();
  }

  #askDelete() {
    setText(byId("delete-text"), `Delete ${showKey(percentDecode(this.key))}, as it is at revision ${this.base}?`);
    byId("delete-dialog").showModal();
  }

  async #delete() {
    byId("delete-dialog").close();
    const { key, base } = this;
    await this.#attempt(key, async () => {
      await api.deleteKey(key, base);
      if (key === this.key) this.#deleted();
      this.dispatchEvent(new Event("saved"));
    }, { base, verb: "deleted" });
  }

  /** The value stays in the field as a draft: one click creates the key anew. */
  #deleted() {
    const text = this.field.value;
    const { form, isLong } = this;
    this.drafts.drop(this.key);
    this.#take(null);
    if (!isLong) {
      this.#putInField(form, text, 0);
      this.#typed();
    }
    this.history.open(this.key, null);
    if (isLong) this.#tell("good", "Deleted.");
    else this.#tell("good", "Deleted. Its value is still in the field; saving creates the key anew.", this.#button("Let it go", () => {
      this.drafts.drop(this.key);
      this.#take(null);
      this.#tell(null);
      this.dispatchEvent(new Event("change"));
    }));
  }

  /** Carry out a write; say in words what came of it. What was typed stays in the field, whatever comes. */
  async #attempt(key, carryOut, attempted) {
    this.#isBusy = true;
    this.#dress();
    try {
      await carryOut();
    } catch (failed) {
      if (key !== this.key) announce(`A key that is not shown any more was not ${attempted.verb}; what was typed is kept`);
      else if (failed instanceof api.Conflict) this.#refused(failed.found, attempted);
      else if (failed.isUnknown) await this.#lookWhether(attempted);
      else this.#tell("bad", `Not ${attempted.verb}. ${explain(failed)} What you typed is still here.`);
    } finally {
      this.#isBusy = false;
      this.#dress();
    }
  }

  #refused(found, { verb, base }) {
    if (found !== null && found.value === null) found = null;
    const why = base ? "somebody has changed this key since you opened it" : "this key is there already";
    this.#tellConflict("bad", `Not ${verb}: ${why}, and nothing was overwritten.`, found);
  }

  /** Somebody else was faster: show what is there, and let the person choose. The field is not touched. */
  #tellConflict(mood, text, found) {
    this.toldRevision = found?.revision ?? 0;
    const began = this.base ? `You began from revision ${this.base}` : "For you it was not there";
    const now = found === null ? "the key is deleted now" : `revision ${found.revision} is there now`;
    const theirs = found === null ? null : el("pre", { tabindex: "0", role: "region", "aria-label": `The value of revision ${found.revision}`, class: "theirs" },
      el("code", { text: shorten(FORMS.text.show(found.value) ?? FORMS.hex.show(found.value)) }));
    const keep = this.#button(found === null ? "Create it with mine" : `Save mine over revision ${found.revision}`, () => { this.#rebase(found); this.save(); });
    const take = this.#button(found === null ? "Let mine go" : "Take theirs", () => { this.#takeTheirs(found); });
    this.#tell(mood, [`${text} ${began}; ${now}. What you typed is still in the field.`, theirs], keep, take);
  }

  /** From now on the condition is the revision that is there; the field stays as it is. */
  #rebase(found) {
    const typed = { form: this.form, text: this.field.value };
    this.#take(found);
    this.#putInField(typed.form, typed.text, this.base);
    this.#typed();
  }

  #takeTheirs(found) {
    this.item = found;
    this.#revert();
    this.history.open(this.key, found);
  }

  /** The node does not know what became of a write: look whether it is there. */
  async #lookWhether(attempted) {
    const { value, base, verb } = attempted;
    this.#tell("warn", "The node has lost sight of it. Looking whether it happened …");
    const { key } = this;
    let item;
    try {
      item = await api.getKey(key);
    } catch {
      const again = this.#button("Look again", () => this.#lookWhether(attempted));
      if (key === this.key) this.#tell("bad", `Nobody knows yet whether it was ${verb}. What you typed is still here.`, again);
      return;
    }
    if (key !== this.key) return;
    const revision = item?.revision ?? 0;
    if (revision === base) this.#tell("warn", `It was not ${verb} so far. What you typed is still here; trying again is safe.`);
    else if (value && item && equalBytes(item.value, value)) this.#saved(key, attempted, revision);
    else if (!value && item === null) this.#deleted();
    else this.#tellConflict("bad", `Perhaps ${verb}, and changed again since.`, item);
  }

  /** After a write: its revisions, its history, and the list of keys. */
  async #settle() {
    this.#dress();
    this.dispatchEvent(new Event("saved"));
    await this.look({ isQuiet: true });
  }

  /** Look whether somebody has changed the key. What nobody has edited is shown anew; else the person is told. */
  async look({ isQuiet = false } = {}) {
    const { key } = this;
    if (key === null || (this.#isBusy && !isQuiet) || this.isLooking) return;
    this.isLooking = true;
    try {
      const item = await api.getKey(key);
      if (key !== this.key || (this.#isBusy && !isQuiet)) return;
      const isSame = (item?.revision ?? 0) === this.base;
      if (isSame && !this.isTouched) this.item = item ?? this.item;
      if (!isSame) this.#changedElsewhere(item);
      this.#dress();
      if (!isSame || isQuiet) this.history.open(key, item);
    } catch {
      // the next change of the store makes this page look again
    } finally {
      this.isLooking = false;
    }
  }

  #changedElsewhere(item) {
    if (!this.isTouched) {
      this.#take(item);
      this.#tell("plain", item ? `Somebody has just written revision ${item.revision}; this is it.` : "Somebody has just deleted this key.");
    } else if (this.toldRevision !== (item?.revision ?? 0)) {
      this.#tellConflict("warn", "Somebody has just changed this key.", item);
    }
  }

  // --- drawing ------------------------------------------------------------------------------------------------------

  #dress() {
    const { item } = this;
    const isTouched = this.isTouched;
    for (const radio of document.querySelectorAll("input[name=form]")) {
      radio.checked = radio.value === this.form;
      radio.disabled = this.isLong;
    }
    setText(byId("save"), this.#isBusy ? "Saving …" : this.base ? "Save" : "Create");
    byId("save").disabled = this.#isBusy || this.isLong || (!isTouched && this.base !== 0);
    byId("revert").disabled = this.#isBusy || !isTouched;
    byId("delete").disabled = this.#isBusy || this.base === 0;
    setText(byId("key-facts"), item ? sayFacts(item) : "not there");
    setText(byId("draft-mark"), isTouched ? "not saved" : "");
    this.dispatchEvent(new Event("change"));
  }

  #button(text, act) {
    return el("button", { type: "button", class: "small", text, on: { click: act } });
  }

  /** Say something above the field; null takes it away. A screen reader says it at once where it is bad. */
  #tell(mood, content, ...buttons) {
    this.notice.hidden = mood === null;
    if (mood === null) {
      this.notice.replaceChildren();
      return;
    }
    const [text, more] = Array.isArray(content) ? content : [content, null];
    this.notice.dataset.mood = mood;
    this.notice.replaceChildren(el("p", { text }), ...(more ? [more] : []), ...(buttons.length ? [el("p", { class: "links" }, ...buttons)] : []));
  }
}

function sayFacts(item) {
  const facts = [`revision ${item.revision ?? "–"}`, `version ${item.version ?? "–"}`, `created at ${item.created ?? "–"}`, size(item.value.length)];
  if (item.lease) facts.push(`goes with lease ${item.lease}`);
  if (item.ttl) facts.push(`expires in ${duration(item.ttl)}`);
  return facts.join(" · ");
}

const shorten = (text) => (text.length > SHOWN_BYTES_MAX ? `${text.slice(0, SHOWN_BYTES_MAX)} …` : text);

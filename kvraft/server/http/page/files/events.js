// What has happened within the last hour, with its reasons: as the node that serves this page has kept it.

import { getEvents } from "./api.js";
import { byId, el } from "./dom.js";
import { duration, time } from "./words.js";

const POLL_MS = 2000;
const WINDOW_S = 3600;
const SHOWN_MAX = 200;
/** How a kind is marked; the first pattern that fits. */
const MARKS = [
  [/slow|long|lag|silent/, "slow"],
  [/vote|asked|stood|leads|follows|leader|stepped|makes_way|election/, "election"],
  [/change|operator|member/, "change"],
  [/lost|refused|hangs|full|differs|trouble/, "trouble"],
];
/** An event that happens again is told anew, with the time of its first; two times that differ by less are the same, seconds. */
const SAME_TIME_S = 0.1;

export class Timeline {
  #since = 0;
  #events = [];
  #seen = 0;

  constructor(cluster) {
    this.cluster = cluster;
    this.list = byId("events");
    this.filter = byId("events-filter");
    this.filter.addEventListener("change", () => this.#show());
    this.#watchCluster();
    this.#poll();
    setInterval(() => this.#poll(), POLL_MS);
  }

  async #poll() {
    if (document.hidden || this.isAsking || (this.#since && !this.cluster.isOwnHere)) return;
    this.isAsking = true;
    try {
      const told = await getEvents(this.#since);
      const isAnew = told.some((event) => event.seq <= this.#since); // the node has started anew and counts from 1
      if (isAnew) this.#events = this.#events.filter((event) => event.isOurs);
      for (const event of told) {
        this.#since = Math.max(isAnew ? 0 : this.#since, event.seq);
        this.#forgetFirst(event);
        this.#events.push(event);
      }
      if (told.length || !this.isShown) this.#show();
    } catch {
      if (!this.isShown) this.#show();
    } finally {
      this.isAsking = false;
    }
  }

  /** Drop what was told of an event before it has happened again. */
  #forgetFirst(again) {
    if (!again.first_time) return;
    const isBefore = (event) => event.kind === again.kind && Math.abs((event.first_time ?? event.time) - again.first_time) < SAME_TIME_S;
    this.#events = this.#events.filter((event) => !isBefore(event));
  }

  /** What this page itself sees is kept beside it, so that the list goes on while its node is gone. */
  #watchCluster() {
    let before = null;
    this.cluster.addEventListener("change", () => {
      const view = this.cluster.view();
      if (!view.isKnown) return;
      const silent = new Set(view.rows.filter((row) => row.health === "silent").map((row) => row.id));
      if (before && !this.cluster.isOwnHere) {
        for (const id of silent) if (!before.silent.has(id)) this.#see("trouble", `node ${id} does not answer this page any more`);
        if (view.leader !== null && view.leader !== before.leader) this.#see("election", `node ${view.leader} leads, in term ${view.term}`);
      }
      before = { silent, leader: view.leader };
    });
  }

  #see(kind, text) {
    this.#seen += 1;
    this.#events.push({ seq: `seen-${this.#seen}`, time: Date.now() / 1000, node: null, kind, text, isOurs: true });
    this.#show();
  }

  #show() {
    const from = Date.now() / 1000 - WINDOW_S;
    this.#events = this.#events.filter((event) => event.time >= from).sort((one, other) => one.time - other.time).slice(-2 * SHOWN_MAX);
    const wanted = this.filter.value;
    const shown = this.#events.filter((event) => !wanted || markOf(event) === wanted).reverse().slice(0, SHOWN_MAX);
    this.list.replaceChildren(...shown.map(toItem));
    byId("events-none").hidden = shown.length > 0;
    this.isShown = true;
  }
}

function markOf(event) {
  return MARKS.find(([pattern]) => pattern.test(event.kind))?.[1] ?? "other";
}

function toItem(event) {
  const ago = duration(Date.now() / 1000 - event.time);
  const source = event.isOurs ? "this page" : `node ${event.node}`;
  return el(
    "li",
    { data: { mark: markOf(event) } },
    el("time", { datetime: new Date(event.time * 1000).toISOString(), title: `${ago} ago`, text: time(event.time) }),
    el("span", { class: "text", text: event.text }),
    el("span", { class: "source", text: source }),
  );
}

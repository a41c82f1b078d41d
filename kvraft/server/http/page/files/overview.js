// The tiles, the members, and what is said when the node that served this page is gone.

import { announce, byId, el, setText } from "./dom.js";
import * as words from "./words.js";

const TITLE = "kvraft";

/** Keep the first view as `cluster` is. */
export function showCluster(cluster) {
  const table = new MemberTable(byId("members"));
  const teller = new Teller();
  const show = () => {
    const view = cluster.view();
    showTiles(view);
    showHeader(cluster, view);
    table.show(view.rows);
    showGone(cluster, view);
    teller.tell(view);
  };
  cluster.addEventListener("change", show);
}

function showTiles(view) {
  const leads = view.leader !== null;
  tile("leader", leads ? `Node ${view.leader}` : "None", leads ? addressOf(view, view.leader) : "an election is under way, or no majority lives", leads ? "good" : "bad");
  tile("term", words.whole(view.term), "counts elections");
  tile("healthy", view.isKnown ? `${view.healthy} of ${view.voters}` : "–", sayHealth(view), view.healthy === view.voters ? "good" : "warn");
  const { number, text, mood } = sayMargin(view);
  tile("margin", number, text, mood);
}

function tile(name, value, note, mood = "plain") {
  const place = byId(`tile-${name}`);
  setText(place.querySelector(".value"), value);
  setText(place.querySelector(".note"), note);
  place.dataset.mood = mood;
}

const addressOf = (view, id) => view.rows.find((row) => row.id === id)?.address ?? "";

function sayHealth(view) {
  const silent = view.rows.filter((row) => !row.isHealthy).map((row) => row.id);
  const learners = view.rows.filter((row) => row.membership === "learner").length;
  if (silent.length) return `${silent.length === 1 ? "node" : "nodes"} ${silent.join(", ")} not`;
  return learners ? `voters; ${words.plural(learners, "learner")} besides` : "all voters answer";
}

function sayMargin({ margin, isKnown }) {
  if (!isKnown) return { number: "–", text: "", mood: "plain" };
  if (margin < 0) return { number: String(margin).replace("-", "−"), text: "no majority: no writes, no reads", mood: "bad" };
  if (margin === 0) return { number: "0", text: "one more failure stops all writes", mood: "warn" };
  return { number: String(margin), text: `${words.plural(margin, "more voter")} may fail`, mood: "good" };
}

function showHeader(cluster, view) {
  const isHere = cluster.isOwnHere;
  const pill = byId("pill");
  const hasLeader = view.leader !== null;
  pill.dataset.mood = !isHere || view.margin < 0 || !hasLeader ? "bad" : view.healthy < view.voters ? "warn" : "good";
  setText(pill, hasLeader ? `Node ${view.leader} leads, ${view.healthy} of ${view.voters} healthy` : "No leader");
  setText(byId("served-by"), cluster.ownId === null ? "" : `Page of node ${cluster.ownId}${isHere ? "" : ", which is gone"}`);
  document.title = hasLeader ? `Node ${view.leader} leads – ${TITLE}` : `No leader – ${TITLE}`;
}

// --- the node that served the page is gone ----------------------------------------------------------------------------

function showGone(cluster, view) {
  const banner = byId("gone");
  const isGone = !cluster.isOwnHere;
  if (!isGone) {
    banner.hidden = true;
    return;
  }
  const others = view.rows.filter((row) => row.http && !row.isOwn);
  const key = `${cluster.ownId} ${others.map((row) => `${row.id}${row.health}`).join()} ${location.hash}`;
  if (!banner.hidden && banner.dataset.shows === key) return;
  const answering = others.filter((row) => row.health === "up");
  const who = cluster.ownId === null ? "The node that served this page" : `Node ${cluster.ownId}, which served this page,`;
  const tells = answering.length
    ? `The tiles and members below go on with what ${answering.map((row) => `node ${row.id}`).join(" and ")} ${answering.length === 1 ? "tells" : "tell"}. Charts, events and keys wait for it; what you have typed stays here.`
    : "No other member answers this browser either; what you have typed stays here.";
  banner.replaceChildren(
    el("p", {}, el("strong", { text: `${who} does not answer.` }), ` ${tells}`),
    el("p", { class: "links" }, ...(answering.length ? answering : others).map(linkTo)),
  );
  banner.dataset.shows = key;
  banner.hidden = false;
}

function linkTo(row) {
  const text = `Open the page of node ${row.id}${row.isLeader ? ", which leads" : ""}`;
  return el("a", { class: "button", href: `http://${row.http}/${location.hash}`, target: "_blank", rel: "noopener", text });
}

// --- what a screen reader hears ---------------------------------------------------------------------------------------

/** Says aloud who leads, and who comes and goes. */
class Teller {
  #leader;
  #silent = "";

  tell(view) {
    if (!view.isKnown) return;
    const silent = view.rows.filter((row) => row.health === "silent").map((row) => row.id).join(" and ");
    if (view.leader !== this.#leader && this.#leader !== undefined) {
      announce(view.leader === null ? "No member leads" : `Node ${view.leader} leads, in term ${view.term}`);
    } else if (silent !== this.#silent) {
      announce(silent ? `Node ${silent} does not answer` : "All members answer");
    }
    this.#leader = view.leader;
    this.#silent = silent;
  }
}

// --- the members ------------------------------------------------------------------------------------------------------

const COLUMNS = ["Member", "Role", "Lag", "Last contact", "Memory", "Disk", "Version"];
/** A lag of so many entries fills the bar; it grows with the logarithm. */
const LAG_FULL = 100_000;

class MemberTable {
  #rows = new Map();

  constructor(body) {
    this.body = body;
  }

  show(rows) {
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, parts] of this.#rows) {
      if (!ids.has(id)) {
        parts.row.remove();
        this.#rows.delete(id);
      }
    }
    for (const [at, row] of rows.entries()) {
      if (!this.#rows.has(row.id)) this.#rows.set(row.id, makeRow());
      const parts = this.#rows.get(row.id);
      if (this.body.children[at] !== parts.row) this.body.insertBefore(parts.row, this.body.children[at] ?? null);
      fillRow(parts, row);
    }
  }
}

function makeRow() {
  const cells = COLUMNS.map((name, at) =>
    el(at === 0 ? "th" : "td", { role: at === 0 ? "rowheader" : "cell", scope: at === 0 ? "row" : null, data: { label: name } }),
  );
  const [name, role, lag, contact, memory, disk, version] = cells;
  const parts = { row: el("tr", { role: "row" }, ...cells), role, contact, memory, disk, version };
  parts.dot = el("span", { class: "dot", "aria-hidden": "true" });
  parts.name = el("span", { class: "name" });
  parts.address = el("span", { class: "address" });
  name.append(parts.dot, parts.name, parts.address);
  parts.bar = el("span", { class: "fill" });
  parts.meter = el("span", { class: "bar", role: "meter", "aria-label": "Entries to catch up", "aria-valuemin": "0" }, parts.bar);
  parts.lag = el("span");
  lag.append(parts.meter, parts.lag);
  return parts;
}

function fillRow(parts, row) {
  parts.row.dataset.health = row.health;
  parts.row.dataset.role = row.isLeader ? "leader" : "other";
  setText(parts.name, `Node ${row.id}${row.isOwn ? " (this page)" : ""}`);
  setText(parts.address, row.address ?? "");
  setText(parts.role, sayRole(row));
  showLag(parts, row);
  setText(parts.contact, sayContact(row));
  setText(parts.memory, row.memory === null ? words.bytes(row.held) : words.bytes(row.memory));
  parts.memory.title = row.held === null ? "" : `The store holds ${words.bytes(row.held)}`;
  setText(parts.disk, words.bytes(row.diskBytes));
  parts.disk.title = row.diskWritten === null ? "" : `${words.plural(row.diskSegments, "segment")}, ${words.bytes(row.diskWritten)} written since the start`;
  setText(parts.version, row.version ?? "–");
}

function sayRole(row) {
  if (row.health === "silent") return "does not answer";
  if (row.health === "differs") return "state differs: serves nothing";
  const role = row.role ?? "unknown";
  if (row.membership === "voter") return role;
  return row.waitsFor ? `${row.membership}: ${row.waitsFor}` : row.membership;
}

function showLag(parts, row) {
  const lag = row.health === "silent" ? null : row.lag;
  parts.meter.hidden = lag === null;
  const share = lag ? Math.min(1, Math.log10(1 + lag) / Math.log10(1 + LAG_FULL)) : 0;
  parts.bar.style.width = `${Math.round(share * 100)}%`;
  parts.meter.setAttribute("aria-valuenow", lag ?? 0);
  parts.meter.setAttribute("aria-valuemax", Math.max(LAG_FULL, lag ?? 0));
  parts.meter.setAttribute("aria-valuetext", lag === 0 ? "in step" : words.plural(lag ?? 0, "entry", "entries"));
  setText(parts.lag, lag === null ? "–" : lag === 0 ? "in step" : `${words.whole(lag)} ${lag === 1 ? "entry" : "entries"}`);
}

function sayContact(row) {
  if (row.health === "silent") return Number.isFinite(row.silentMs) ? `${words.duration(row.silentMs / 1000)} ago` : "never";
  if (row.isLeader) return "leads";
  if (row.silentMs === null) return row.health === "up" ? "answers" : "connected";
  return words.milliseconds(row.silentMs);
}

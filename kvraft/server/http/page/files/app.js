// The page as a whole: its two views, what they share, and the address that names what is shown.

import { percentDecode, percentEncode, showKey, toBytes } from "./bytes.js";
import { showCharts } from "./charts.js";
import { Cluster } from "./cluster.js";
import { byId, setText } from "./dom.js";
import { Drafts } from "./drafts.js";
import { Editor } from "./editor.js";
import { Timeline } from "./events.js";
import { KeyList } from "./keys.js";
import { showCluster } from "./overview.js";
import { forKey, forPrefix, forWrite, placeOf, showSnippets } from "./snippets.js";
import { followTheme } from "./theme.js";

const VIEWS = ["cluster", "keys"];

const cluster = new Cluster();
const drafts = new Drafts();
const list = new KeyList(drafts);
const editor = new Editor(drafts);
let view = null;
let revision = null;
let snippets = "";

// --- the address: #cluster, or #keys?prefix=…&key=… --------------------------------------------------------------------

function readAddress() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  const parts = Object.fromEntries(query.split("&").map((part) => part.split("=")));
  return { name: VIEWS.includes(name) ? name : VIEWS[0], prefix: parts.prefix ?? "", key: parts.key ?? null };
}

function writeAddress() {
  const parts = [list.prefix && `prefix=${list.prefix}`, editor.key !== null && `key=${editor.key}`].filter(Boolean);
  const hash = `#keys${parts.length ? `?${parts.join("&")}` : ""}`;
  byId("nav-keys").href = hash; // the way back from the other view
  if (view === "keys" && location.hash !== hash) history.pushState(null, "", hash);
}

function follow() {
  const address = readAddress();
  const wasView = view;
  view = address.name;
  for (const name of VIEWS) {
    byId(`view-${name}`).hidden = name !== view;
    if (name === view) byId(`nav-${name}`).setAttribute("aria-current", "page");
    else byId(`nav-${name}`).removeAttribute("aria-current");
  }
  if (view !== "keys") return;
  const prefix = percentEncode(percentDecode(address.prefix)); // one way to write each
  const key = address.key === null ? null : percentEncode(percentDecode(address.key));
  if (key === null) editor.close();
  else if (key !== editor.key) editor.open(key); // before the list, which writes the address with the key that is open
  if (wasView !== "keys" || prefix !== list.prefix) list.show(prefix);
  list.mark(key);
  showLines();
}

// --- lines to copy ----------------------------------------------------------------------------------------------------

function showLines() {
  if (view !== "keys") return;
  const place = placeOf(cluster.view());
  const [lines, caption] = linesFor(place);
  const now = JSON.stringify(lines);
  if (now === snippets) return; // somebody may be selecting one
  snippets = now;
  showSnippets(lines, caption);
}

function linesFor(place) {
  if (editor.key === null) return [forPrefix(percentDecode(list.prefix), place), "The keys above, elsewhere"];
  const key = percentDecode(editor.key);
  if (editor.isTouched) {
    try {
      return [forWrite(key, editor.value(), editor.base, place), "What “Save” does, elsewhere"];
    } catch {
      // what is typed stands for no bytes yet
    }
  }
  return [forKey(key, place), "This key, elsewhere"];
}

// --- what belongs together --------------------------------------------------------------------------------------------

function openKey(key, options) {
  editor.open(key, options);
  list.mark(key);
  writeAddress();
  showLines();
}

function askNewKey() {
  const field = byId("new-key-name");
  field.value = showKey(percentDecode(list.prefix));
  byId("new-key-dialog").showModal();
  field.focus();
}

function makeNewKey() {
  const name = byId("new-key-name").value;
  setText(byId("new-key-note"), name ? "" : "A key has at least one character.");
  if (!name) return;
  byId("new-key-dialog").close();
  openKey(percentEncode(toBytes(name)), { isNew: true });
}

function start() {
  followTheme(byId("theme"));
  showCluster(cluster);
  showCharts(cluster);
  new Timeline(cluster);
  list.addEventListener("open", ({ detail }) => {
    openKey(detail);
    byId("editor").scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("prefix", () => { writeAddress(); showLines(); });
  editor.addEventListener("change", () => { list.mark(editor.key); showLines(); });
  editor.addEventListener("saved", () => list.refresh());
  cluster.addEventListener("change", () => {
    showLines();
    const now = cluster.isOwnHere ? cluster.own?.status?.revision : revision;
    if (now === revision) return;
    revision = now;
    if (view === "keys") {
      list.refresh();
      editor.look();
    }
  });
  byId("new-key").addEventListener("click", askNewKey);
  byId("new-key-form").addEventListener("submit", (event) => { event.preventDefault(); makeNewKey(); });
  byId("new-key-cancel").addEventListener("click", () => byId("new-key-dialog").close());
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || view !== "keys" || event.target.closest("input, textarea, dialog")) return;
    event.preventDefault();
    byId("prefix").focus();
  });
  cluster.start();
  follow();
}

start();

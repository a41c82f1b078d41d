// Lines to copy: what is shown, asked for with netcat, curl, redis-cli and Python.

import { percentEncode, toBase64, toText } from "./bytes.js";
import { byId, copyButton, el } from "./dom.js";

/** Values longer than this stand in no line. */
const VALUE_SHOWN_MAX = 2000;
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** A word for a POSIX shell. */
const shell = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** An argument of the line protocol, as docs/protocol.md says: as it is where it can be, else in quotes. */
function argument(bytes, pattern = /[\s\u0000]|^"|^base64"|^$/) {
  const text = toText(bytes);
  if (text === null) return `base64"${toBase64(bytes)}"`;
  return pattern.test(text) ? JSON.stringify(text) : text;
}

const lastArgument = (bytes) => argument(bytes, /[\r\n]|^"|^base64"|^$/);

function python(bytes) {
  const text = toText(bytes);
  if (text !== null) return JSON.stringify(text);
  const escaped = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return `b"${escaped}"`;
}

/** An argument for redis-cli; bytes that are no text need its --quoted-input. */
function redis(bytes) {
  const text = toText(bytes);
  if (text !== null) return shell(text) || "''";
  return shell(`"${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}"`);
}

function netcat(line, { host, port }) {
  const print = line.includes("\\") ? "printf '%s\\n'" : "echo";
  return `${print} ${shell(line)} | nc ${host} ${port}`;
}

const redisCli = ({ host, port }, isQuoted) => `redis-cli -c -h ${host} -p ${port}${isQuoted ? " --quoted-input" : ""}`;

const withClient = (nodes, ...lines) =>
  ["from kvraft.client import Client, If", "", `with Client(${JSON.stringify(nodes)}) as client:`, ...lines.map((line) => `    ${line}`)].join("\n");

/** What to type to see the keys with a prefix. */
export function forPrefix(prefix, place) {
  const isText = toText(prefix) !== null;
  const pattern = isText ? shell(`${toText(prefix).replace(/[\\*?[\]]/g, "\\$&")}*`) : null;
  return {
    nc: netcat(`PREFIX ${argument(prefix)} KEYS`, place),
    curl: `curl -L ${shell(`${place.http}/kv/?prefix=${percentEncode(prefix)}&keys_only=1`)}`,
    "redis-cli": pattern && `${redisCli(place)} --scan --pattern ${pattern}`,
    Python: withClient(place.nodes, `for key in client.keys(${python(prefix)}):`, "    print(key)").replace("Client, If", "Client"),
  };
}

/** What to type to read a key. */
export function forKey(key, place) {
  return {
    nc: netcat(`GET ${argument(key)} META`, place),
    curl: `curl -L -H 'Accept: application/json' ${shell(`${place.http}/kv/${percentEncode(key)}`)}`,
    "redis-cli": `${redisCli(place, toText(key) === null)} GET ${redis(key)}`,
    Python: withClient(place.nodes, `print(client.get_item(${python(key)}))`).replace("Client, If", "Client"),
  };
}

/** What to type to write a value where the key still has `revision`; 0: where it is not there. */
export function forWrite(key, value, revision, place) {
  if (value.length > VALUE_SHOWN_MAX) return forFile(key, revision, place);
  const text = toText(value);
  const condition = revision ? `REVISION ${revision}` : "ABSENT";
  const header = revision ? `If-Match: "${revision}"` : "If-None-Match: *";
  const operations = text !== null && toText(key) !== null
    ? JSON.stringify({ if: [{ key: toText(key), revision }], then: [{ set: toText(key), value: text }] })
    : null;
  return {
    nc: text === null ? null : netcat(`CAS ${argument(key)} ${condition} ${lastArgument(value)}`, place),
    curl: text === null ? forFile(key, revision, place).curl
      : `curl -L -X PUT -H '${header}' --data-raw ${shell(text) || "''"} ${shell(`${place.http}/kv/${percentEncode(key)}`)}`,
    "redis-cli": operations && `${redisCli(place)} KV.TXN ${shell(operations)}`,
    Python: withClient(place.nodes, `client.cas(${python(key)}, ${revision ? `If.revision(${revision})` : "If.absent()"}, ${python(value)})`),
  };
}

function forFile(key, revision, place) {
  const header = revision ? `If-Match: "${revision}"` : "If-None-Match: *";
  return { curl: `curl -L -X PUT -H '${header}' --data-binary @value ${shell(`${place.http}/kv/${percentEncode(key)}`)}` };
}

/** Where to type it to: the leader where it is known, and all nodes for the client that finds it by itself. */
export function placeOf(view) {
  const row = view.rows.find((each) => each.isLeader) ?? view.rows[0];
  const address = row?.address ?? "localhost:8080";
  const colon = address.lastIndexOf(":");
  return {
    host: address.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: address.slice(colon + 1),
    nodes: view.rows.map((each) => each.address).filter(Boolean).join(","),
    http: location.origin,
  };
}

/** Show lines, by the name of the program. */
export function showSnippets(lines, caption) {
  byId("snippets-caption").textContent = caption;
  const items = Object.entries(lines).filter(([, line]) => line).map(([program, line]) =>
    el(
      "div",
      { class: "snippet" },
      el("div", { class: "snippet-head" }, el("span", { text: program }), copyButton(`the line for ${program}`, line)),
      el("pre", { tabindex: "0", role: "region", "aria-label": `For ${program}` }, el("code", { text: line })),
    ),
  );
  byId("snippets").replaceChildren(...items);
}

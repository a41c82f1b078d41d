// Asks the node that serves this page.

import { bytesOf } from "./bytes.js";

export const REQUEST_TIMEOUT_MS = 10_000;
/** A follower passes on what only the leader carries out: a browser cannot follow it to another origin. */
const HEADERS = { Accept: "application/json", "Kvraft-On-Follower": "forward" };
/** Statuses after which a write may have happened or not, whatever the answer says besides. */
const DOUBTFUL_STATUSES = new Set([500, 502, 504]);

/** Why a request was not carried out, or may have been. */
export class RequestFailed extends Error {
  constructor(code, message, { isUnknown = false, found, status } = {}) {
    super(message);
    this.code = code;
    this.isUnknown = isUnknown;
    this.found = found;
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const { method = "GET", headers = {}, body } = options;
  const isWrite = method !== "GET";
  let response;
  try {
    response = await fetch(path, {
      method,
      body,
      headers: { ...HEADERS, ...headers },
      cache: "no-store",
      redirect: "manual",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  } catch {
    throw new RequestFailed("UNREACHABLE", "The node that served this page does not answer.", { isUnknown: isWrite });
  }
  if (response.type === "opaqueredirect") {
    throw new RequestFailed("NOT_LEADER", "This node does not lead, and does not pass requests on. Use the leader’s page.");
  }
  const answer = await readJson(response, isWrite);
  if (response.ok) return answer;
  const { error: code = `HTTP_${response.status}`, message = "The node refused it.", found } = answer ?? {};
  const isUnknown = isWrite && (code === "UNKNOWN" || code === "INTERNAL" || DOUBTFUL_STATUSES.has(response.status));
  throw new RequestFailed(code, message, { isUnknown, found, status: response.status });
}

async function readJson(response, isWrite) {
  if (response.status === 204) return {};
  try {
    return await response.json();
  } catch {
    if (!response.ok) return null;
    throw new RequestFailed("UNREADABLE", "The answer broke off, or is not JSON.", { isUnknown: isWrite });
  }
}

/** What the answer says of a key, with its value as bytes. */
function toItem(answer) {
  return {
    value: bytesOf(answer, "value"),
    revision: answer.mod_revision,
    created: answer.create_revision,
    version: answer.version,
    ttl: answer.ttl ?? null,
    lease: answer.lease ?? null,
  };
}

/** The key's path; a browser takes the names `.` and `..` for folders, however they are written. */
function pathOf(key) {
  if (key === "." || key === "..") {
    throw new RequestFailed("INVALID", `A browser cannot name the key “${key}” in an address. Use the command: kvraft get ${key}`);
  }
  return `/kv/${key}`;
}

export async function getKey(key, { revision } = {}) {
  try {
    const query = revision === undefined ? "" : `?revision=${revision}`;
    return toItem(await ask(`${pathOf(key)}${query}`));
  } catch (failed) {
    if (failed.status === 404) return null;
    throw failed;
  }
}

/** Write a value where the key still has `revision`; 0: where it is not there. Returns the new revision, null where that is not told. */
export async function putKey(key, value, revision, { ttl, lease } = {}) {
  const query = new URLSearchParams();
  if (ttl) query.set("ttl", ttl);
  if (lease) query.set("lease", lease);
  const path = query.size ? `${pathOf(key)}?${query}` : pathOf(key);
  const headers = { "Content-Type": "application/octet-stream", ...condition(revision) };
  return change(key, () => ask(path, { method: "PUT", body: value, headers }));
}

/** Remove a key where it still has `revision`. */
export async function deleteKey(key, revision) {
  return change(key, () => ask(pathOf(key), { method: "DELETE", headers: condition(revision) }));
}

const condition = (revision) => (revision ? { "If-Match": `"${revision}"` } : { "If-None-Match": "*" });

/** Told by `putKey` and `deleteKey` where the key has another revision: `found` is what stands there, null where nothing does. */
export class Conflict extends Error {
  constructor(found) {
    super("the key has changed");
    this.found = found;
  }
}

async function change(key, attempt) {
  try {
    const answer = await attempt();
    return answer?.revision ?? answer?.mod_revision ?? null;
  } catch (failed) {
    if (failed.status !== 412) throw failed;
    throw new Conflict(failed.found ? await standing(key, failed.found) : null);
  }
}

/** What stands there with its time and its lease, which the refusal of a write does not tell. */
async function standing(key, found) {
  try {
    return await getKey(key);
  } catch {
    return toItem(found);
  }
}

export async function listKeys(prefix, { limit, cursor } = {}) {
  const query = [`prefix=${prefix}`, `limit=${limit}`, "keys_only=1"];
  if (cursor) query.push(`cursor=${encodeURIComponent(cursor)}`);
  const answer = await ask(`/kv/?${query.join("&")}`);
  return {
    keys: answer.items.map((item) => bytesOf(item, "key")),
    cursor: answer.cursor ?? null,
    count: answer.count ?? null,
  };
}

/** The revisions of a key that the history keeps, newest first, without what is there now. */
export async function getHistory(key, current) {
  try {
    const answer = await ask(`${pathOf(key)}?history=1`);
    return answer.revisions.map((each) => toItem(each));
  } catch (failed) {
    if (failed.code === "UNREACHABLE" || failed.code === "INVALID") throw failed;
    return walkBack(key, current); // this node does not tell histories
  }
}

const STEPS_BACK_MAX = 20;

async function walkBack(key, current) {
  const found = [];
  let at = current;
  while (at && found.length < STEPS_BACK_MAX) {
    try {
      const item = await getKey(key, { revision: at });
      if (item === null) break;
      found.push(item);
      at = item.version > 1 ? item.revision - 1 : 0;
    } catch (failed) {
      if (failed.code === "COMPACTED") break;
      throw failed;
    }
  }
  return found;
}

export const getSeries = async () => (await ask("/series")).points;
export const getEvents = async (since) => (await ask(since ? `/events?since=${since}` : "/events")).events;

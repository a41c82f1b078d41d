// What this page knows of the cluster: from the node that serves it once a second, and from each other member's /status.

const POLL_MS = 1000;
const ANSWER_TIMEOUT_MS = 1500;
/** A node that has told nothing for so long is taken for silent. */
const FRESH_MS = 2500;
/** Shortest time between two attempts to be told by the own node. */
const LISTEN_AGAIN_MS = 900;

/** Tells "change" when something may look different, and "point" with each new second of the charts. */
export class Cluster extends EventTarget {
  constructor() {
    super();
    this.ownId = null;
    this.nodes = new Map();
    this.clusterId = null;
    this.stream = null;
    this.isPolling = false;
    this.listenedAt = -Infinity;
  }

  start() {
    this.#listen();
    this.#poll();
    setInterval(() => this.#poll(), POLL_MS);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#hush() : this.#poll()));
  }

  get own() {
    return this.nodes.get(this.ownId) ?? null;
  }

  /** Whether the node that served this page answers; true until it was tried. */
  get isOwnHere() {
    return this.own === null ? !this.ownFailed : isUp(this.own);
  }

  // --- asking -------------------------------------------------------------------------------------------------------

  #listen() {
    if (this.stream || document.hidden || performance.now() - this.listenedAt < LISTEN_AGAIN_MS) return;
    this.listenedAt = performance.now();
    const stream = new EventSource("/status/events");
    this.stream = stream;
    stream.addEventListener("message", (event) => {
      const { status, point } = JSON.parse(event.data);
      this.#takeOwn(status);
      if (point) this.dispatchEvent(new CustomEvent("point", { detail: point }));
    });
    stream.addEventListener("error", () => {
      this.#hush(); // a browser tries again after seconds of its own choice: polling finds the node sooner
      this.#pollOwn();
    });
  }

  #hush() {
    this.stream?.close();
    this.stream = null;
  }

  #poll() {
    if (document.hidden) return;
    if (!this.stream || !this.own || !isUp(this.own)) this.#pollOwn();
    for (const node of this.nodes.values()) {
      if (node.id !== this.ownId && node.http) this.#pollOther(node);
    }
    this.#tell();
  }

  async #pollOwn() {
    if (this.isPolling) return;
    this.isPolling = true;
    try {
      this.#takeOwn(await fetchStatus("/status"));
      this.#listen();
    } catch {
      this.ownFailed = true;
      this.#hush();
      if (this.own) this.own.failedAt = performance.now();
      this.#tell();
    } finally {
      this.isPolling = false;
    }
  }

  async #pollOther(node) {
    if (node.isAsked) return;
    node.isAsked = true;
    const wasUp = isUp(node);
    try {
      this.#take(await fetchStatus(`http://${node.http}/status`), node.id);
    } catch {
      node.failedAt = performance.now();
    } finally {
      node.isAsked = false;
    }
    this.#tell();
    if (wasUp && !isUp(node)) setTimeout(() => this.#poll(), 150); // who leads now?
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  // --- what was told ------------------------------------------------------------------------------------------------

  #takeOwn(status) {
    this.ownId = status.id;
    this.ownFailed = false;
    this.clusterId = status.cluster_id || this.clusterId;
    this.#take(status, status.id);
    this.#tell();
  }

  #take(status, expected) {
    const isOfAnother = this.clusterId && status.cluster_id && status.cluster_id !== this.clusterId;
    if (status.id !== expected || isOfAnother) throw new Error("another node answers there");
    const node = this.#node(status.id);
    node.status = status;
    node.answeredAt = performance.now();
    this.#takeMembers(status);
  }

  #takeMembers(status) {
    const told = Array.isArray(status.members) ? status.members : status.members?.members;
    if (!told) return;
    const current = this.newest();
    if (current && current !== status && current.commit > status.commit) return;
    const http = status.http ?? {};
    for (const member of told) {
      const node = this.#node(member.id);
      node.address = member.address;
      node.membership = member.role;
      node.waitsFor = member.waits_for ?? null;
      node.http = member.http ?? http[member.id] ?? node.http;
    }
    const ids = new Set(told.map((member) => member.id));
    for (const id of this.nodes.keys()) {
      if (!ids.has(id) && id !== this.ownId) this.nodes.delete(id);
    }
  }

  #node(id) {
    if (!this.nodes.has(id)) {
      this.nodes.set(id, { id, address: null, membership: null, http: null, status: null, answeredAt: -Infinity, failedAt: -Infinity });
    }
    return this.nodes.get(id);
  }

  // --- what follows from it -----------------------------------------------------------------------------------------

  /** The statuses of nodes that answer, of the latest term and commit first. */
  fresh() {
    const statuses = [...this.nodes.values()].filter(isUp).map((node) => node.status);
    return statuses.sort((one, other) => other.term - one.term || other.commit - one.commit);
  }

  newest() {
    return this.fresh()[0] ?? null;
  }

  /** The cluster as it is to be shown. */
  view() {
    const statuses = this.fresh();
    const term = statuses.length ? statuses[0].term : null;
    const leading = statuses.find((each) => each.role === "leader" && each.term === term) ?? null;
    const leader = leading?.id ?? this.#rememberedLeader(statuses, term);
    const members = [...this.nodes.values()].sort((one, other) => one.id - other.id);
    const rows = members.map((node) => this.#row(node, statuses, leading, leader));
    const voters = rows.filter((row) => row.membership !== "learner");
    const healthy = voters.filter((row) => row.isHealthy).length;
    const quorum = Math.floor(voters.length / 2) + 1;
    return { leader, term, rows, healthy, quorum, voters: voters.length, margin: healthy - quorum, leading, isKnown: rows.length > 0 };
  }

  /** Who the others say leads, unless that node was just asked and does not answer. */
  #rememberedLeader(statuses, term) {
    const told = statuses.find((each) => each.term === term && each.leader !== null && each.leader !== undefined);
    if (!told) return null;
    const node = this.nodes.get(told.leader);
    const health = node ? this.#health(node, statuses) : "silent";
    return health === "silent" ? null : told.leader;
  }

  /** "up": it answers this page; "relayed": the others are connected to it, and this browser is not; "silent"; "unknown". */
  #health(node, statuses) {
    if (isUp(node)) return node.status.differs_at === null || node.status.differs_at === undefined ? "up" : "differs";
    const others = statuses.map((each) => each.peers?.[node.id]).filter(Boolean);
    const hasEverAnswered = Number.isFinite(node.answeredAt);
    if (!hasEverAnswered && others.some((each) => each.connected)) return "relayed";
    if (statuses.length === 0 && !hasEverAnswered) return "unknown";
    return "silent";
  }

  #row(node, statuses, leading, leader) {
    const health = this.#health(node, statuses);
    const status = health === "up" || health === "differs" ? node.status : null;
    const progress = leading?.peers?.[node.id];
    const isLeader = node.id === leader;
    return {
      id: node.id,
      address: node.address,
      http: node.http,
      membership: node.membership ?? "voter",
      waitsFor: node.waitsFor,
      health,
      isHealthy: health === "up" || health === "relayed",
      isOwn: node.id === this.ownId,
      isLeader,
      role: isLeader ? "leader" : (status?.role ?? (health === "relayed" ? "follower" : null)),
      lag: lagOf(status, progress, leading, isLeader),
      silentMs: health === "silent" ? performance.now() - node.answeredAt : (progress?.silent_ms ?? null),
      memory: status?.process?.rss_bytes ?? null,
      held: status?.store?.bytes ?? null,
      diskBytes: status?.disk?.bytes ?? null,
      diskWritten: status?.disk?.bytes_written ?? null,
      diskSegments: status?.disk?.segments ?? 0,
      version: status?.version ?? null,
    };
  }
}

export const isUp = (node) => node.answeredAt > node.failedAt && performance.now() - node.answeredAt < FRESH_MS;

/** How many entries of the log a member has still to get: as the leader counts them, or else what it has still to apply. */
function lagOf(status, progress, leading, isLeader) {
  if (isLeader && status) return Math.max(0, status.commit - status.applied);
  if (progress?.match !== undefined && leading) return Math.max(0, leading.last_index - progress.match);
  if (status && leading) return Math.max(0, leading.commit - status.applied);
  return null;
}

async function fetchStatus(url) {
  const response = await fetch(url, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

// Numbers and errors as people read them.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

export const whole = (number) => (number === null || number === undefined ? "–" : Math.round(number).toLocaleString("en-US"));

export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number >= 10_000 ? `${(number / 1000).toFixed(1)} k` : whole(number);
}

export function milliseconds(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 1000) return `${(number / 1000).toFixed(1)} s`;
  return `${number > 0 && number < 10 ? Number(number).toFixed(1) : Math.round(number)} ms`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const time = (unixSeconds) => clock.format(new Date(unixSeconds * 1000));

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

const ADVICE = {
  NOT_LEADER: "No member leads just now, so nothing was changed. Try again in a moment.",
  OVERLOADED: "The cluster has too much to do, and nothing was changed. Try again in a moment.",
  QUOTA_EXCEEDED: "The store is full, and nothing was changed. Delete something first.",
  TIMEOUT: "The cluster did not begin in time, and nothing was changed. Try again.",
  STOPPING: "This node is being stopped, and nothing was changed. Use another member’s page.",
  STATE_DIFFERS: "This node’s state differs from the others’, so it serves nothing. Use another member’s page.",
  UNKNOWN: "It may have happened or not: the node has lost sight of it.",
  COMPACTED: "That revision is not kept any more.",
  NO_SUCH_LEASE: "The lease of this key has ended, and nothing was changed.",
};

/** What an error of a node means, in a sentence or two. */
export function explain(error) {
  return [ADVICE[error.code], error.message].filter(Boolean).filter((each, at, all) => all.indexOf(each) === at).join(" ");
}

// Keys and values are bytes. A key is known on this page by its percent-encoded form, which is also its place in a path.

const UNRESERVED = /[A-Za-z0-9\-._~]/;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

export const toBytes = (text) => encoder.encode(text);

/** The text that the bytes are in UTF-8, or null where they are none. */
export function toText(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

export function percentEncode(bytes) {
  let encoded = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    encoded += UNRESERVED.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

export function percentDecode(encoded) {
  const bytes = [];
  for (let at = 0; at < encoded.length; at += 1) {
    const digits = encoded[at] === "%" ? encoded.slice(at + 1, at + 3) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(digits)) {
      bytes.push(parseInt(digits, 16));
      at += 2;
    } else {
      bytes.push(...toBytes(encoded[at]));
    }
  }
  return Uint8Array.from(bytes);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** The bytes of a member of an answer, which stands there as `name` or as `name_base64`; null where it is neither. */
export function bytesOf(item, name) {
  if (typeof item?.[name] === "string") return toBytes(item[name]);
  if (typeof item?.[`${name}_base64`] === "string") return fromBase64(item[`${name}_base64`]);
  return null;
}

export function equalBytes(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** Sixteen bytes a line, as pairs of hexadecimal digits. */
export function toHex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    lines.push(Array.from(bytes.subarray(at, at + 16), (byte) => byte.toString(16).padStart(2, "0")).join(" "));
  }
  return lines.join("\n");
}

/** The bytes that hexadecimal digits stand for, with any spaces between them; null where they are not such. */
export function fromHex(text) {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 || !/^[0-9A-Fa-f]*$/.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** How a key is shown to people: as text, with what cannot be shown in hexadecimal digits. */
export function showKey(bytes) {
  const text = toText(bytes);
  if (text !== null && !/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/.test(text)) return text;
  return Array.from(bytes, (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
}

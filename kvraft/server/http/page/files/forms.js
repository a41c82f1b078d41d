// The three ways in which a value is shown and edited. None of them changes a byte that nobody has typed.

import { fromHex, toBytes, toHex, toText } from "./bytes.js";

/** The end of line that all lines of a text have; null where they differ, and a text field could not give them back. */
function lineEnd(text) {
  if (!text.includes("\r")) return "\n";
  return /(^|[^\r])\n|\r(?!\n)/.test(text) ? null : "\r\n";
}

/** Each form: `show` returns what stands in the field, null where the value has no such form; `read` returns the bytes, or throws with words. */
export const FORMS = {
  text: {
    show(bytes) {
      const text = toText(bytes);
      return text === null || text.includes("\u0000") || lineEnd(text) === null ? null : text.replaceAll("\r\n", "\n");
    },
    read: (shown, original) => toBytes(shown.replaceAll("\n", endOf(original))),
    why: "This value is not UTF-8 text, or has ends of lines that a text field would change.",
  },
  json: {
    show(bytes) {
      const text = toText(bytes);
      return text !== null && isJson(text) && lineEnd(text) !== null ? layOut(text, "  ") : null;
    },
    read(shown, original) {
      try {
        JSON.parse(shown);
      } catch (error) {
        throw new Error(`This is no JSON: ${error.message}`, { cause: error });
      }
      const before = toText(original);
      return toBytes(before === null || !before.trim().includes("\n") ? layOut(shown, "") : shown);
    },
    why: "This value is no JSON.",
  },
  hex: {
    show: toHex,
    read(shown) {
      const bytes = fromHex(shown);
      if (bytes === null) throw new Error("These are no pairs of hexadecimal digits, such as 6b 76.");
      return bytes;
    },
  },
};

const endOf = (original) => lineEnd(toText(original) ?? "") ?? "\n";

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The form in which a value is shown first. */
export function bestForm(bytes) {
  const text = FORMS.text.show(bytes);
  if (text === null) return "hex";
  return /^\s*[[{]/.test(text) && isJson(text) ? "json" : "text";
}

/**
 * Lay out a JSON text anew, in lines with `indent`, or in one line where that is empty. Only the space between the tokens changes: numbers
 * of any length and members of any order stay as they are.
 */
export function layOut(text, indent) {
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) ?? [];
  let laid = "";
  let depth = 0;
  const line = () => (indent ? `\n${indent.repeat(depth)}` : "");
  tokens.forEach((token, at) => {
    if (token === "}" || token === "]") {
      depth -= 1;
      laid += /[[{]/.test(tokens[at - 1]) && tokens[at - 1].length === 1 ? token : line() + token;
    } else if (token === "{" || token === "[") {
      depth += 1;
      const isEmpty = tokens[at + 1] === "}" || tokens[at + 1] === "]";
      laid += token + (isEmpty ? "" : line());
    } else if (token === ",") laid += token + line();
    else if (token === ":") laid += indent ? ": " : ":";
    else laid += token;
  });
  return laid;
}

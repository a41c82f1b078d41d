// Makes elements. Data become text nodes and attributes, never markup.

/**
 * Make an element. `properties` are attributes, but for `text`, `on` (listeners by event) and `data`; one that is null, undefined or false
 * is left out.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Set an element's text, and touch nothing where it stands there already: a screen reader is not told anew. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Say something to a screen reader alone. */
export function announce(text) {
  setText(byId("announcer"), text);
}

/** A button that copies a text, and says that it did. */
export function copyButton(label, text) {
  const button = el("button", { type: "button", class: "quiet small", "aria-label": `Copy ${label}`, text: "Copy" });
  button.addEventListener("click", async () => {
    const done = await copy(typeof text === "function" ? text() : text);
    button.textContent = done ? "Copied" : "Select it and press Ctrl-C";
    announce(done ? `Copied ${label}` : "The browser does not allow copying here");
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // a page that came by plain HTTP from another machine has no clipboard
  }
}

function copyBySelection(text) {
  const before = document.activeElement;
  const field = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}

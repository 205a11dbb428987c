// Elements of the page. Text from the service is only ever set as text, never parsed as markup.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Return text with control and format characters escaped, as the command line shows them. */
export function visible(text) {
  return String(text).replace(HIDDEN, (c) =>
    c === "\n" || c === "\t" ? c : `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

export function byId(id) {
  return document.getElementById(id);
}

function addChildren(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : visible(child));
  }
  return node;
}

/** Return a new element. `attributes.class` and others are set as they are; null leaves one out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  return addChildren(node, children);
}

/** Return a new SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return addChildren(node, children);
}

/** Replace the children of a node. The focus stays on the element of the same `data-key`, and scroll positions stay. */
export function render(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = [...node.querySelectorAll("[data-scroll]")].map((n) => [n.dataset.scroll, n.scrollTop, n.scrollLeft]);
  node.replaceChildren();
  addChildren(node, children);
  for (const [name, top, left] of scrolled) {
    const found = node.querySelector(`[data-scroll="${CSS.escape(name)}"]`);
    if (found) { found.scrollTop = top; found.scrollLeft = left; }
  }
  if (focused) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Return a table. A column is [heading, cell of a row, class]. A stacked one shows a row as lines on a phone. */
export function table(columns, rows, { caption = "", isStacked = false } = {}) {
  const role = (name) => (isStacked ? name : null); // The layout of a phone takes these roles away.
  return el("table", { class: isStacked ? "stack" : null, role: role("table") },
    caption && el("caption", { class: "unseen" }, caption),
    el("thead", { role: role("rowgroup") }, el("tr", { role: role("row") },
      columns.map(([title, , kind]) => el("th", { scope: "col", class: kind, role: role("columnheader") }, title)))),
    el("tbody", { role: role("rowgroup") }, rows.map((row) => el("tr", { role: role("row") },
      columns.map(([, cell, kind]) => el("td", { class: kind, role: role("cell") }, cell(row)))))));
}

/** Return a link to a family. `key` names the place of the link, for the focus. */
export function familyLink(name, key) {
  return el("a", { href: `#family=${encodeURIComponent(name)}`, title: name, "data-key": `${key} ${name}` }, name);
}

/** Return a mark: a short word in the colour of its meaning. */
export function mark(word, kind = "muted") {
  return el("span", { class: `mark ${kind}` }, word);
}

export function paragraph(text, kind = "hint") {
  return el("p", { class: kind }, text);
}

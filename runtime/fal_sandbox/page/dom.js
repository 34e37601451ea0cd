// Elements made from names and values. Text goes in as text and never as markup: schemas come from anyone.

/** An element: `h("a", { class: "card", href }, "text", child)`. Handlers are given as `onclick`; null children are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A text in which whatever stands between backticks is code. */
export function prose(text) {
  return text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

let last = 0;

/** An id that no other element has. */
export function newId() {
  last += 1;
  return `x${last}`;
}

/** Elements in one line; texts are always texts, never markup. */

/** An element with attributes (`true`: there, `false`: not), `onclick` and the like as listeners, and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A select of `[value, label]`; `chosen` hears the value. */
export function select(label, options, chosen) {
  const element = h("select", { "aria-label": label, onchange: () => chosen(element.value) });
  fill(element, options);
  return element;
}

/** Other options for a select; what is chosen stays, where it still is one. */
export function fill(element, options) {
  const wanted = JSON.stringify(options);
  if (element.dataset.options === wanted) return;
  element.dataset.options = wanted;
  const { value } = element;
  element.replaceChildren(...options.map(([name, label]) => h("option", { value: name }, label)));
  if (options.some(([name]) => name === value)) element.value = value;
}

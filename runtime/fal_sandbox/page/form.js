// A form made from an input schema. Only what somebody has filled in is sent.

import { h, newId, prose } from "./dom.js";
import { choices, complaint, fieldsOf, kindOf, limitsOf, resolve, takesFile, typeOf } from "./schema.js";
import { upload } from "./service.js";

const LONG_TEXT = /prompt|text|lyrics|script|caption|description|instruction|message/;

/** The form of one endpoint's input. `docs` holds the meaning of fields by class and name. */
export class InputForm {
  constructor(schema, definitions, docs = {}) {
    this.definitions = definitions;
    this.docs = docs;
    this.places = new Set();
    const root = resolve(schema, definitions);
    this.root = new ObjectControl(this, root, () => [], "Input");
    this.summary = h("div", { class: "summary", role: "alert", tabindex: "-1", hidden: true });
    this.more = new MoreControl(this);
    this.element = h("div", {}, this.summary, this.root.element, this.more.element);
  }

  /** The input as it is filled in, problems or not. */
  get value() {
    return this.#read([]);
  }

  /** The input, if it is acceptable; else null, and every problem is shown at its field. */
  check() {
    const problems = [];
    const value = this.#read(problems);
    this.show(problems);
    return problems.length ? null : value;
  }

  #read(problems) {
    const found = [];
    const value = this.root.read(found);
    const more = this.more.read(problems);
    problems.unshift(...found.filter(({ path }) => !Object.hasOwn(more, path[0])));
    for (const [name, one] of Object.entries(more)) define(value, name, one);
    return value;
  }

  /** Fill in values by name. */
  fill(value) {
    this.root.fill(value);
  }

  /** Show problems, each `{ path, text }`: at the field, or as near to it as there is one, and all in a list on top. */
  show(problems) {
    for (const place of this.places) {
      if (!place.input.isConnected) this.places.delete(place);
      else place.mark("");
    }
    const items = problems.map(({ path, text }) => {
      const name = path.join(".");
      const place = this.#nearest(path);
      place?.mark(`${name}: ${text}`);
      const line = `${name || "input"}: ${text}`;
      if (!place) return h("li", {}, line);
      const go = (event) => {
        event.preventDefault();
        place.focus();
      };
      return h("li", {}, h("a", { href: "#", onclick: go }, line));
    });
    const count = items.length === 1 ? "There is a problem" : `There are ${items.length} problems`;
    this.summary.replaceChildren(h("strong", {}, `${count} with the input`), h("ul", {}, items));
    this.summary.hidden = !items.length;
    if (items.length) this.#nearest(problems[0].path)?.focus();
  }

  #nearest(path) {
    const named = [...this.places].filter((place) => place.input.isConnected);
    for (let length = path.length; length > 0; length -= 1) {
      const wanted = JSON.stringify(path.slice(0, length));
      const found = named.find((place) => JSON.stringify(place.path()) === wanted);
      if (found) return found;
    }
    return null;
  }
}

/** A named field: its label, what may stand in it, its control, its meaning and its problem. */
function field(form, name, raw, path, required, doc) {
  const schema = resolve(raw, form.definitions);
  const id = newId();
  const help = doc || schema.description || "";
  const ids = { input: id, label: `${id}-label`, rule: `${id}-rule`, problem: `${id}-problem` };
  const control = controlOf(form, schema, path, { name, required, ids });
  const grouped = control.group === true;
  const label = h(grouped ? "span" : "label", { class: "name", id: ids.label, for: grouped ? null : id }, name);
  const star = required ? h("span", { class: "star", "aria-hidden": "true" }, " *") : null;
  const rule = h("span", { class: "rule", id: ids.rule }, ruleOf(raw, schema, form.definitions));
  const problem = h("div", { class: "problem", id: ids.problem, hidden: true });
  const element = h(
    "div",
    { class: "field", role: grouped ? "group" : null, "aria-labelledby": grouped ? ids.label : null },
    h("div", { class: "label" }, h("div", {}, label, star), rule),
    help ? h("div", { class: "help" }, prose(help)) : null,
    control.element,
    problem,
  );
  const input = control.input ?? element;
  const mark = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
    if (control.input) control.input.setAttribute("aria-invalid", text ? "true" : "false");
    if (text) for (let outer = element.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
  };
  const focus = () => (control.input ?? element.querySelector("input, select, textarea, button, summary"))?.focus();
  form.places.add({ path, input, mark, focus });
  return { element, control, name, required };
}

function ruleOf(raw, schema, definitions) {
  const kind = kindOf(schema);
  const texts = [typeOf(raw, definitions)];
  if (kind !== "choice" && kind !== "union") texts.push(limitsOf(raw, definitions));
  if (schema.default !== undefined && typeof schema.default !== "object") texts.push(`default ${JSON.stringify(schema.default)}`);
  return texts.filter(Boolean).join(" · ");
}

function controlOf(form, schema, path, options) {
  switch (kindOf(schema)) {
    case "union":
      return new UnionControl(form, schema, path, options);
    case "choice":
      return new ChoiceControl(schema, path, options, choices(schema));
    case "boolean":
      return new ChoiceControl(schema, path, options, [true, false]);
    case "integer":
    case "number":
      return new NumberControl(schema, path, options);
    case "string":
      return new TextControl(schema, path, options);
    case "array":
      return new ListControl(form, schema, path, options);
    case "object":
      return options.required ? new ObjectControl(form, schema, path) : new FoldedControl(form, schema, path);
    default:
      return new JsonControl(schema, path, options);
  }
}

function attributes({ ids, required }) {
  return { id: ids.input, "aria-describedby": `${ids.rule} ${ids.problem}`, "aria-required": required ? "true" : null };
}

function missing(problems, path, required) {
  if (required) problems.push({ path: path(), text: "is required", missing: true });
}

function unsetText(schema, required) {
  if (schema.default !== undefined && schema.default !== null && typeof schema.default !== "object") return `default: ${schema.default}`;
  return required ? "choose…" : "not set";
}

class ChoiceControl {
  constructor(schema, path, options, values) {
    this.path = path;
    this.values = values;
    this.required = options.required;
    this.input = h(
      "select",
      attributes(options),
      h("option", { value: "" }, unsetText(schema, options.required)),
      values.map((value, index) => h("option", { value: index }, typeof value === "string" ? value : JSON.stringify(value))),
    );
    this.element = this.input;
  }

  read(problems) {
    if (this.input.value !== "") return this.values[Number(this.input.value)];
    missing(problems, this.path, this.required);
    return undefined;
  }

  fill(value) {
    const index = this.values.indexOf(value);
    this.input.value = index < 0 ? "" : String(index);
  }
}

class NumberControl {
  constructor(schema, path, options) {
    this.schema = schema;
    this.path = path;
    this.required = options.required;
    const { minimum, maximum, multipleOf: step } = schema;
    const whole = schema.type === "integer";
    this.input = h("input", {
      ...attributes(options),
      type: "number",
      inputmode: whole && !(minimum < 0) ? "numeric" : "decimal",
      min: minimum ?? (whole && schema.exclusiveMinimum !== undefined ? Math.floor(schema.exclusiveMinimum) + 1 : null),
      max: maximum ?? (whole && schema.exclusiveMaximum !== undefined ? Math.ceil(schema.exclusiveMaximum) - 1 : null),
      step: step ?? (whole ? 1 : "any"),
      placeholder: schema.default ?? null,
      autocomplete: "off",
    });
    this.element = this.input;
  }

  read(problems) {
    if (this.input.validity.badInput) {
      problems.push({ path: this.path(), text: "must be a number" });
      return undefined;
    }
    if (this.input.value === "") {
      missing(problems, this.path, this.required);
      return undefined;
    }
    const value = Number(this.input.value);
    const text = complaint(value, this.schema);
    if (text) problems.push({ path: this.path(), text });
    return value;
  }

  fill(value) {
    this.input.value = value;
  }
}

class TextControl {
  constructor(schema, path, options) {
    this.schema = schema;
    this.path = path;
    this.required = options.required;
    const { name } = options;
    const file = takesFile(name, schema);
    const shown = { ...attributes(options), placeholder: schema.default || null, autocomplete: "off" };
    const long = !file && (LONG_TEXT.test(name) || schema.maxLength > 200);
    this.input = long ? h("textarea", { ...shown, rows: 3 }) : h("input", { ...shown, type: "text", inputmode: file ? "url" : null });
    if (file) this.input.placeholder ||= "https://…";
    this.element = file ? this.#withUpload(name) : this.input;
  }

  #withUpload(name) {
    const picker = h("input", { type: "file", hidden: true, "aria-label": `File for ${name}` });
    const button = h("button", { type: "button", onclick: () => picker.click(), "aria-label": `Upload a file for ${name}` }, "Upload");
    picker.addEventListener("change", async () => {
      const [file] = picker.files;
      if (!file) return;
      button.disabled = true;
      button.textContent = "Uploading…";
      try {
        this.input.value = await upload(file);
        this.input.setCustomValidity("");
        button.textContent = "Uploaded";
      } catch (error) {
        button.textContent = "Failed, try again";
        button.title = String(error.message ?? error);
      } finally {
        button.disabled = false;
        picker.value = "";
        this.input.dispatchEvent(new Event("input", { bubbles: true }));
      }
    });
    return h("div", { class: "beside" }, this.input, button, picker);
  }

  read(problems) {
    const { value } = this.input;
    if (value === "") {
      missing(problems, this.path, this.required);
      return undefined;
    }
    const text = complaint(value, this.schema);
    if (text) problems.push({ path: this.path(), text });
    return value;
  }

  fill(value) {
    this.input.value = value;
  }
}

class JsonControl {
  constructor(schema, path, options) {
    this.schema = schema;
    this.path = path;
    this.required = options.required;
    this.input = h("textarea", { ...attributes(options), rows: 2, class: "mono", spellcheck: "false", placeholder: "JSON" });
    this.element = this.input;
  }

  read(problems) {
    if (this.input.value.trim() === "") {
      missing(problems, this.path, this.required);
      return undefined;
    }
    try {
      return JSON.parse(this.input.value);
    } catch (error) {
      problems.push({ path: this.path(), text: `is not JSON: ${error.message}` });
      return undefined;
    }
  }

  fill(value) {
    this.input.value = JSON.stringify(value);
  }
}

/** What fields cannot say: an empty text, a null, a field that the schema does not name. It wins over them. */
class MoreControl {
  constructor(form) {
    const ids = { input: newId(), rule: newId(), problem: newId() };
    this.path = () => ["more"];
    this.json = new JsonControl({ type: "object" }, this.path, { required: false, ids });
    this.json.input.placeholder = '{"negative_prompt": "", "seed": null}';
    const label = h("label", { class: "help", for: ids.input, id: ids.rule }, "More as JSON: empty texts, nulls, fields that the schema does not name");
    const problem = h("div", { class: "problem", id: ids.problem, hidden: true });
    this.element = h("details", { class: "further" }, h("summary", {}, "More"), h("div", { class: "field" }, label, this.json.element, problem));
    const mark = (text) => {
      problem.textContent = text;
      problem.hidden = !text;
      this.json.input.setAttribute("aria-invalid", text ? "true" : "false");
      this.element.open ||= Boolean(text);
    };
    form.places.add({ path: this.path, input: this.json.input, mark, focus: () => this.json.input.focus() });
  }

  read(problems) {
    const value = this.json.read(problems) ?? {};
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
    problems.push({ path: this.path(), text: "must be an object" });
    return {};
  }
}

class ObjectControl {
  group = true;

  constructor(form, schema, path, name = schema.component?.split("__").pop()) {
    const docs = (name !== undefined && Object.hasOwn(form.docs, name) && form.docs[name]) || {};
    this.children = fieldsOf(schema).map(([key, raw, required]) =>
      field(form, key, raw, () => [...path(), key], required, meaning(Object.hasOwn(docs, key) ? docs[key] : "")),
    );
    const nested = name !== "Input";
    this.element = h("div", { class: nested ? "nest" : "fields" }, this.children.map((child) => child.element));
  }

  read(problems) {
    const value = {};
    for (const { control, name } of this.children) {
      const one = control.read(problems);
      if (one !== undefined) define(value, name, one);
    }
    return value;
  }

  fill(value) {
    for (const { control, name } of this.children) if (Object.hasOwn(value, name)) control.fill(value[name]);
  }
}

/** An object that may be left out, and is until something in it is filled in. Made when it is opened: schemas may recur. */
class FoldedControl {
  group = true;

  constructor(form, schema, path) {
    this.make = () => new ObjectControl(form, schema, path);
    this.element = h("details", { ontoggle: () => this.element.open && this.#inner() }, h("summary", {}, "Set its fields"));
  }

  #inner() {
    if (!this.inner) {
      this.inner = this.make();
      this.element.append(this.inner.element);
    }
    return this.inner;
  }

  read(problems) {
    if (!this.inner) return undefined;
    const found = [];
    const value = this.inner.read(found);
    const used = Object.keys(value).length > 0;
    problems.push(...(used ? found : found.filter((problem) => !problem.missing)));
    return used ? value : undefined;
  }

  fill(value) {
    this.element.open = true;
    this.#inner().fill(value);
  }
}

class ListControl {
  group = true;

  constructor(form, schema, path, { name, required }) {
    Object.assign(this, { form, schema, path, name, required, items: [] });
    this.list = h("div", { class: "fields", hidden: true });
    this.adder = h("button", { type: "button", class: "small", onclick: () => this.#add(true) }, `Add to ${name}`);
    this.element = h("div", { class: "fields" }, this.list, h("div", {}, this.adder));
    if (required) for (let count = Math.max(1, schema.minItems ?? 1); count > 0; count -= 1) this.#add(false);
  }

  #add(byHand) {
    const item = {};
    const path = () => [...this.path(), this.items.indexOf(item)];
    const schema = resolve(this.schema.items ?? {}, this.form.definitions);
    const id = newId();
    const ids = { input: id, rule: `${id}-rule`, problem: `${id}-problem` };
    item.control = controlOf(this.form, schema, path, { name: this.name, required: true, ids });
    const problem = h("div", { class: "problem", id: ids.problem, hidden: true });
    const remove = h("button", { type: "button", class: "small", onclick: () => this.#remove(item) }, "Remove");
    const title = h("span", { class: "mono muted" });
    const inside = item.control.group
      ? [h("div", { class: "item-head" }, title, remove), item.control.element]
      : [h("div", { class: "beside" }, item.control.element, remove)];
    item.element = h("div", { class: "field", role: "group" }, inside, problem);
    item.rename = () => {
      const place = `${this.name} ${this.items.indexOf(item) + 1}`;
      title.textContent = place;
      item.element.setAttribute("aria-label", place);
      item.control.input?.setAttribute("aria-label", place);
      remove.setAttribute("aria-label", `Remove ${place}`);
    };
    const mark = (text) => {
      problem.textContent = text;
      problem.hidden = !text;
      item.control.input?.setAttribute("aria-invalid", text ? "true" : "false");
    };
    const focus = () => (item.element.querySelector("input, select, textarea") ?? remove).focus();
    this.form.places.add({ path, input: item.element, mark, focus });
    this.items.push(item);
    this.list.append(item.element);
    this.#arranged();
    if (byHand) focus();
  }

  #remove(item) {
    this.items.splice(this.items.indexOf(item), 1);
    item.element.remove();
    this.#arranged();
    this.adder.focus();
  }

  #arranged() {
    for (const item of this.items) item.rename();
    this.list.hidden = !this.items.length;
    this.adder.disabled = this.items.length >= (this.schema.maxItems ?? Infinity);
    this.element.dispatchEvent(new Event("input", { bubbles: true }));
  }

  read(problems) {
    if (!this.items.length) {
      missing(problems, this.path, this.required);
      return undefined;
    }
    const { minItems = 0 } = this.schema;
    if (this.items.length < minItems) problems.push({ path: this.path(), text: `must have at least ${minItems} items, and has ${this.items.length}` });
    const values = this.items.map((item) => item.control.read(problems));
    return values.filter((value) => value !== undefined);
  }

  fill(values) {
    while (this.items.length < values.length) this.#add(false);
    values.forEach((value, index) => this.items[index].control.fill(value));
  }
}

/** Several kinds of values: each allowed value is a choice of its own, and each other kind opens its own control. */
class UnionControl {
  constructor(form, schema, path, options) {
    Object.assign(this, { form, path, options, required: options.required, variants: [] });
    for (const member of schema.union) {
      const one = resolve(member, form.definitions);
      if (kindOf(one) === "choice") this.variants.push(...choices(one).map((value) => ({ value, label: String(value) })));
      else this.variants.push({ schema: one, label: `${typeOf(member, form.definitions)}…` });
    }
    this.input = h(
      "select",
      attributes(options),
      h("option", { value: "" }, unsetText(schema, options.required)),
      this.variants.map((variant, index) => h("option", { value: index }, variant.label)),
    );
    this.input.addEventListener("change", () => this.#chosen());
    this.nest = h("div", { class: "nest open", hidden: true });
    this.element = h("div", {}, this.input, this.nest);
  }

  #chosen() {
    const variant = this.variants[Number(this.input.value)];
    this.inner = null;
    this.nest.replaceChildren();
    this.nest.hidden = this.input.value === "" || !variant.schema;
    if (this.nest.hidden) return;
    const id = newId();
    const ids = { input: id, rule: `${id}-rule`, problem: `${id}-problem` };
    this.inner = controlOf(this.form, variant.schema, this.path, { name: this.options.name, required: true, ids });
    this.inner.input?.setAttribute("aria-label", `${this.options.name}, ${variant.label}`);
    const children = this.inner instanceof ObjectControl ? this.inner.children.map((child) => child.element) : [this.inner.element];
    this.nest.append(...children);
  }

  read(problems) {
    if (this.input.value === "") {
      missing(problems, this.path, this.required);
      return undefined;
    }
    return this.inner ? this.inner.read(problems) : this.variants[Number(this.input.value)].value;
  }

  fill(value) {
    let index = this.variants.findIndex((variant) => !variant.schema && variant.value === value);
    if (index < 0) index = this.variants.findIndex((variant) => variant.schema && fits(value, variant.schema));
    this.input.value = index < 0 ? "" : String(index);
    this.#chosen();
    this.inner?.fill(value);
  }
}

function fits(value, schema) {
  const kind = kindOf(schema);
  if (Array.isArray(value)) return kind === "array";
  if (kind === "integer") return Number.isInteger(value);
  return kind === typeof value || kind === "json";
}

/** Set an own member, whatever its name. */
function define(target, name, value) {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

/** A field's documentation without its limits and default, which stand beside its name. */
function meaning(doc) {
  return doc.replace(/ (Range|Length|Items|Default|Allowed|Multiple of|Step)\b[^:]*:.*$/s, "");
}

// The page of one endpoint: a form that runs it, what comes of it, Python to copy, and its fields.

import { h, newId, prose } from "./dom.js";
import { InputForm } from "./form.js";
import { figure, filesIn } from "./media.js";
import { fieldsOf, kindOf, limitsOf, resolve, sampleObject, typeOf } from "./schema.js";
import { Call, readEndpoint, warning } from "./service.js";
import { snippets } from "./snippets.js";

/** Show an endpoint in `main`; gives what to do when the view is left. */
export async function showEndpoint(main, id, notes) {
  const detail = await readEndpoint(id);
  const heading = title(detail, notes);
  if (!detail.input) {
    main.replaceChildren(heading, h("p", { class: "notice" }, "The platform has no schema for this endpoint, so that it cannot be called here."));
    return () => {};
  }
  const form = new InputForm(detail.input, detail.definitions, detail.module?.docs);
  const result = new ResultPanel(id);
  const code = new CodePanel(detail);

  const example = () => sampleObject(detail.input, detail.definitions);
  const refresh = () => code.show({ ...example(), ...form.value });
  const run = async () => {
    const input = form.check();
    if (input === null) return;
    runner.disabled = true;
    try {
      form.show(await result.run(input));
    } finally {
      runner.disabled = false;
    }
  };
  const runner = h("button", { class: "primary", type: "submit" }, "Run on the sandbox");
  const filler = h("button", { type: "button", onclick: () => (form.fill(example()), refresh()) }, "Fill in an example");
  const submit = (event) => {
    event.preventDefault();
    run();
  };
  const keys = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !runner.disabled) submit(event);
  };
  const element = h(
    "form",
    { novalidate: true, class: "panel", "aria-label": "Input", onsubmit: submit, onkeydown: keys, oninput: refresh },
    h("div", { class: "panel-head" }, h("h2", {}, "Input"), h("span", { class: "rule" }, "* required")),
    form.element,
    h("div", { class: "actions" }, runner, filler),
    h("p", { class: "hint" }, h("span", { class: "keys" }, h("kbd", {}, "Ctrl"), " + ", h("kbd", {}, "Enter"), " runs it, too. "), detail.cassette ? null : "Nothing leaves this machine, and nothing is billed."),
  );
  refresh();
  const beside = h("div", { class: "stack sticky" }, result.element, code.element);
  // What is taller than the window is held by its end, so that all of it can be reached.
  const place = () => (beside.style.top = `${Math.min(16, innerHeight - beside.offsetHeight - 16)}px`);
  const observer = new ResizeObserver(place);
  observer.observe(beside);
  observer.observe(document.documentElement);
  main.replaceChildren(
    heading,
    detail.cassette ? h("p", { class: "notice" }, warning(detail.cassette)) : "",
    h("div", { class: "columns" }, element, beside),
    specification("Input fields", detail.input, detail),
    specification("Output fields", detail.output ?? {}, detail),
  );
  return () => {
    observer.disconnect();
    result.leave();
  };
}

function title({ id, metadata, module }, notes) {
  const tags = [h("span", { class: "tag" }, metadata.category ?? "unknown")];
  for (const note of notes) tags.push(h("span", { class: note === "deprecated" ? "tag warn" : "tag note" }, note));
  if (metadata.license_type) tags.push(h("span", { class: "tag" }, `${metadata.license_type} licence`));
  const from = module ? h("div", { class: "mono muted" }, `${module.package}.${module.name}`) : null;
  return h(
    "div",
    { class: "title" },
    h("h1", { tabindex: "-1" }, metadata.display_name ?? id),
    h("div", { class: "mono" }, id),
    from,
    metadata.description ? h("p", { class: "muted" }, prose(metadata.description)) : null,
    h("div", { class: "tags" }, tags),
  );
}

/** Runs the endpoint, and shows the queue, the log, the files and the answer. */
class ResultPanel {
  constructor(endpointId) {
    this.endpointId = endpointId;
    this.pill = h("span", { class: "pill", role: "status" }, "Not run yet");
    this.elapsed = h("span", { class: "elapsed muted", "aria-hidden": "true" });
    this.canceller = h("button", { type: "button", class: "small", hidden: true, onclick: () => this.call?.cancel() }, "Cancel");
    this.request = h("div", { class: "request mono muted" });
    this.log = h("pre", { class: "log", role: "log", "aria-label": "Log", tabindex: "0", hidden: true });
    this.media = h("div", { class: "media" });
    this.json = h("pre", { class: "json", tabindex: "0", "aria-label": "Answer" });
    this.answer = h("details", { open: true, hidden: true }, h("summary", {}, "Answer as JSON"), this.json);
    this.element = h(
      "section",
      { class: "panel result", "aria-label": "Result" },
      h("div", { class: "panel-head" }, h("h2", {}, "Result"), this.canceller),
      h("div", { class: "state" }, this.pill, this.elapsed),
      this.request,
      this.media,
      this.log,
      this.answer,
    );
  }

  /** Run it; the problems that the server has found with the input, as a form shows them. */
  async run(input) {
    this.leave();
    const call = new Call(this.endpointId);
    this.call = call;
    this.#clear();
    const begun = performance.now();
    this.ticking = setInterval(() => this.#tick(begun), 100);
    try {
      const { status, body } = await call.run(input, (told) => this.#told(told));
      if (this.call !== call) return [];
      this.#tick(begun);
      return await this.#answered(status, body);
    } catch (error) {
      if (this.call === call && error.name !== "AbortError") this.#say(`Failed: ${error.message}`, "bad");
      return [];
    } finally {
      if (this.call === call) this.#ended();
    }
  }

  leave() {
    this.call?.leave();
    this.#ended();
    this.call = null;
  }

  #ended() {
    clearInterval(this.ticking);
    this.canceller.hidden = true;
  }

  #clear() {
    this.#say("Submitting", "busy");
    this.request.textContent = "";
    this.log.textContent = "";
    this.log.hidden = true;
    this.media.replaceChildren();
    this.answer.hidden = true;
    this.canceller.hidden = false;
    const { top, bottom } = this.element.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) this.element.scrollIntoView({ block: "start" });
  }

  #tick(begun) {
    this.elapsed.textContent = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
  }

  #say(text, tone) {
    if (this.pill.textContent !== text) this.pill.textContent = text;
    this.pill.dataset.tone = tone;
  }

  #told(status) {
    this.request.textContent = status.request_id ?? this.request.textContent;
    if (status.status === "IN_QUEUE") this.#say(`In queue, ${status.queue_position ?? 0} ahead`, "busy");
    if (status.status === "IN_PROGRESS") this.#say("Running", "busy");
    for (const line of status.logs ?? []) {
      this.log.hidden = false;
      this.log.append(`${String(line.timestamp).slice(11, 19)}  ${line.message}\n`);
      this.log.scrollTop = this.log.scrollHeight;
    }
  }

  async #answered(status, body) {
    this.json.textContent = JSON.stringify(body, shortened, 2);
    this.answer.hidden = false;
    if (status < 400) {
      this.#say("Completed", "good");
      this.media.replaceChildren(...(await Promise.all(filesIn(body).map(figure))));
      return [];
    }
    const details = body?.detail;
    const type = body?.error_type;
    if (status === 422 && Array.isArray(details)) {
      this.#say("Refused: the input is not valid", "bad");
      return details.map(({ loc = [], msg }) => ({ path: loc.slice(loc[0] === "body" ? 1 : 0), text: String(msg) }));
    }
    this.#say(type === "client_cancelled" ? "Cancelled" : `Failed with ${status}${typeof details === "string" ? `: ${details}` : ""}`, "bad");
    return [];
  }
}

/** Files inside the answer would be all that one sees of it. */
function shortened(key, value) {
  return typeof value === "string" && value.length > 2000 ? `${value.slice(0, 200)}… (${value.length} characters)` : value;
}

/** Python to copy, in tabs. */
class CodePanel {
  constructor(detail) {
    this.detail = detail;
    this.chosen = 0;
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to call it", onkeydown: (event) => this.#keys(event) });
    this.panelId = newId();
    this.code = h("pre", { class: "code", id: this.panelId, role: "tabpanel", tabindex: "0" });
    this.copier = h("button", { type: "button", class: "small", onclick: () => this.#copy() }, "Copy");
    const said = detail.module ? null : h("p", { class: "hint" }, "No module for this endpoint is installed, so the call has no types.");
    this.element = h(
      "section",
      { class: "panel", "aria-label": "Python" },
      h("div", { class: "panel-head" }, h("h2", {}, "Python"), this.copier),
      this.tabs,
      this.code,
      said,
    );
  }

  show(input) {
    this.ways = snippets(this.detail, input);
    if (!this.tabs.children.length) {
      const tab = ([name], index) =>
        h("button", { type: "button", role: "tab", id: newId(), "aria-controls": this.panelId, onclick: () => this.#choose(index) }, name);
      this.tabs.append(...this.ways.map(tab));
    }
    this.#choose(this.chosen);
  }

  #choose(index) {
    this.chosen = index;
    [...this.tabs.children].forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === index));
      tab.tabIndex = place === index ? 0 : -1;
    });
    this.code.setAttribute("aria-labelledby", this.tabs.children[index].id);
    this.code.textContent = this.ways[index][1];
  }

  #keys(event) {
    const count = this.tabs.children.length;
    const moves = { ArrowRight: this.chosen + 1, ArrowLeft: this.chosen - 1, Home: 0, End: count - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#choose((moves[event.key] + count) % count);
    this.tabs.children[this.chosen].focus();
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      this.copier.textContent = "Copied";
    } catch {
      // Not allowed, or not over plain HTTP from another machine: select it, so that the user's own keys copy it.
      getSelection().selectAllChildren(this.code);
      this.copier.textContent = "Selected";
    }
    setTimeout(() => (this.copier.textContent = "Copy"), 1500);
  }
}

const DEEPEST = 4;

function specification(heading, schema, { definitions, module }) {
  const rows = [];
  const describe = (raw, parents, seen) => {
    const object = resolve(raw, definitions);
    for (const [name, member, required] of fieldsOf(object)) {
      const one = resolve(member, definitions);
      rows.push(row(parents, name, member, one, required, definitions));
      for (const inner of insides(one, definitions)) {
        const component = resolve(inner.schema, definitions).component;
        if (parents.length < DEEPEST && !(component && seen.includes(component))) {
          describe(inner.schema, [...parents, name + inner.mark], [...seen, component]);
        }
      }
    }
  };
  describe(schema, [], []);
  const body = rows.length
    ? h(
        "table",
        { class: "spec" },
        h("colgroup", {}, h("col"), h("col"), h("col"), h("col")),
        h("thead", {}, h("tr", {}, ["Field", "Type", "Range or values", "Default"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, rows),
      )
    : h("p", { class: "muted" }, "None are named in its schema.");
  return h("section", { class: "panel wide", "aria-label": heading }, h("div", { class: "panel-head" }, h("h2", {}, heading)), body);
}

/** The objects inside a field: in lists and unions, too. */
function insides(schema, definitions, mark = "") {
  const kind = kindOf(schema);
  if (kind === "object") return [{ schema, mark }];
  if (kind === "array") return insides(resolve(schema.items ?? {}, definitions), definitions, `${mark}[]`);
  if (kind === "union") return schema.union.flatMap((one) => insides(resolve(one, definitions), definitions, mark));
  return [];
}

function row(parents, name, raw, schema, required, definitions) {
  const parent = parents.length ? h("span", { class: "parent" }, `${parents.join(".")}.`) : null;
  const shown = schema.default === undefined ? (required ? "required" : "") : JSON.stringify(schema.default);
  return h(
    "tr",
    {},
    h("td", { class: "name" }, parent, name),
    h("td", {}, typeOf(raw, definitions)),
    h("td", { class: "mono" }, kindOf(schema) === "object" ? "" : limitsOf(raw, definitions)),
    h("td", { class: schema.default === undefined ? "" : "mono", "data-label": schema.default === undefined ? null : "default" }, shown),
  );
}

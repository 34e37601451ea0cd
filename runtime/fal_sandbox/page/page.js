// The sandbox's page: which view the address asks for, the catalogue, and what has been going on.

import { h } from "./dom.js";
import { showEndpoint } from "./endpoint.js";
import { player } from "./media.js";
import { encodePath, readActivity, readIndex, warning } from "./service.js";

const SHOWN = 60; // cards at once: more is not read, and takes time to lay out
const LOOK_SECONDS = 2;

const main = document.querySelector("#main");
let leave = () => {};
let turn = 0;

async function route(first = false) {
  turn += 1;
  const mine = turn;
  leave();
  leave = () => {};
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const id = decode(path);
  const view = id === "" ? "catalogue" : id === "activity" ? "activity" : "endpoint";
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const stage = h("div");
  let left;
  try {
    const { endpoints } = await readIndex();
    if (view === "catalogue") left = showCatalogue(stage, endpoints, new URLSearchParams(query));
    else if (view === "activity") left = await showActivity(stage, endpoints);
    else left = await showEndpoint(stage, id, endpoints.find(([one]) => one === id)?.[3] ?? []);
  } catch (error) {
    stage.replaceChildren(h("h1", { tabindex: "-1" }, "That did not work"), h("p", { class: "notice", role: "alert" }, String(error.message ?? error)));
    left = () => {};
  }
  if (mine !== turn) return left();
  leave = left;
  main.replaceChildren(stage);
  const heading = stage.querySelector("h1");
  document.title = view === "catalogue" ? "fal-bindings sandbox" : `${heading.textContent} · fal-bindings sandbox`;
  if (view === "catalogue") stage.querySelector("input").focus({ preventScroll: true });
  else if (!first) heading.focus();
  if (!first) scrollTo(0, 0);
}

function decode(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

// The catalogue

/** How well an endpoint fits the words of a search; null if it does not. */
function score(entry, words) {
  let total = 0;
  for (const word of words) {
    if (!entry.text.includes(word)) return null;
    if (entry.parts.includes(word)) total += 4;
    else if (entry.parts.some((part) => part.startsWith(word))) total += 2;
    else if (entry.id.includes(word)) total += 1;
  }
  return total - entry.id.length / 200;
}

function entryOf([id, name, category, notes, tags]) {
  const parts = `${id} ${name}`.toLowerCase().split(/[^a-z0-9.]+/);
  const text = [id, name, category, ...notes, ...tags].join(" ").toLowerCase();
  return { id, name, category, notes, parts, text };
}

function showCatalogue(stage, endpoints, query) {
  const entries = endpoints.map(entryOf);
  const counts = new Map();
  for (const { category } of entries) counts.set(category, (counts.get(category) ?? 0) + 1);
  const categories = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
  const input = h("input", {
    type: "search",
    "aria-label": "Search endpoints",
    placeholder: "Search by name or id, such as flux dev",
    autocomplete: "off",
    spellcheck: "false",
    enterkeyhint: "search",
    value: query.get("q"),
  });
  const select = h(
    "select",
    { "aria-label": "Category" },
    h("option", { value: "" }, `All categories (${entries.length})`),
    categories.map(([name, count]) => h("option", { value: name, selected: query.get("category") === name }, `${name} (${count})`)),
  );
  const tally = h("p", { class: "tally", role: "status" });
  const list = h("ul", { class: "cards" });
  const more = h("button", { type: "button", class: "more", onclick: () => show(Infinity) });
  let found = entries;

  const search = () => {
    performance.mark("typed");
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = entries
      .filter((entry) => !select.value || entry.category === select.value)
      .map((entry) => ({ entry, score: score(entry, words) }))
      .filter((one) => one.score !== null)
      .sort((one, other) => (words.length ? other.score - one.score : 0))
      .map((one) => one.entry);
    show(SHOWN);
    performance.measure("search", "typed");
    const wanted = new URLSearchParams(Object.entries({ q: input.value, category: select.value }).filter(([, value]) => value));
    history.replaceState(null, "", `#/${wanted.size ? `?${wanted}` : ""}`);
  };
  const show = (count) => {
    list.replaceChildren(...found.slice(0, count).map(card));
    tally.textContent = found.length === 1 ? "1 endpoint" : `${found.length} endpoints`;
    if (!found.length) tally.textContent = "No endpoint has all these words; fewer may find one.";
    more.hidden = found.length <= count;
    more.textContent = `Show all ${found.length}`;
  };
  const links = () => [...list.querySelectorAll("a")];
  const keys = (event) => {
    const at = links().indexOf(document.activeElement);
    if (event.key === "Escape") {
      if (event.target === input) input.value = "";
      search();
      input.focus();
    } else if (event.key === "Enter" && event.target === input) links()[0]?.click();
    else if (event.key === "ArrowDown" && event.target !== select) links()[at + 1]?.focus();
    else if (event.key === "ArrowUp" && at >= 0) (links()[at - 1] ?? input).focus();
    else return;
    event.preventDefault();
  };
  input.addEventListener("input", search);
  select.addEventListener("change", search);
  stage.addEventListener("keydown", keys);
  stage.append(
    h("h1", { tabindex: "-1" }, "Endpoints"),
    h("p", { class: "muted" }, "Every endpoint of the catalogue, to look at and to try on this machine."),
    h("search", { class: "finder" }, input, select),
    tally,
    list,
    more,
  );
  search();
  return () => {};
}

function card({ id, name, category, notes }) {
  const tags = notes.map((note) => h("span", { class: note === "deprecated" ? "tag warn" : "tag note" }, note));
  return h(
    "li",
    {},
    h(
      "a",
      { class: "card", href: `#/${encodePath(id)}` },
      h("strong", {}, name),
      h("span", { class: "mono" }, id),
      h("span", { class: "tags" }, h("span", { class: "tag" }, category), tags),
    ),
  );
}

// What has been going on

const TONES = { COMPLETED: "good", FAILED: "bad" };
const STATES = { IN_QUEUE: "In queue", IN_PROGRESS: "Running", COMPLETED: "Completed", FAILED: "Failed" };

async function showActivity(stage, endpoints) {
  const known = new Set(endpoints.map(([id]) => id));
  const notice = h("p", { class: "notice" });
  const jobs = h("ul", { class: "cards", "aria-label": "Jobs" });
  const requests = h("tbody");
  const noJobs = h("p", { class: "muted" }, "No job yet. Run an endpoint from the catalogue, or point a client here.");
  const table = h(
    "table",
    { class: "requests" },
    h("thead", {}, h("tr", {}, ["Method", "Path", "Body"].map((text) => h("th", { scope: "col" }, text)))),
    requests,
  );
  stage.append(
    h("h1", { tabindex: "-1" }, "Activity"),
    h("p", { class: "muted" }, "The last jobs and requests, newest first."),
    notice,
    h("h2", { class: "section" }, "Jobs"),
    noJobs,
    jobs,
    h("h2", { class: "section" }, "Requests"),
    h("div", { class: "panel" }, table),
  );
  let shown = "";
  const look = async () => {
    const activity = await readActivity();
    const text = JSON.stringify(activity);
    if (text === shown) return; // so that nobody loses his place, and no player stops
    shown = text;
    notice.textContent = warning(activity.cassette);
    notice.hidden = !activity.cassette;
    noJobs.hidden = activity.jobs.length > 0;
    jobs.replaceChildren(...(await Promise.all(activity.jobs.map((job) => jobCard(job, known)))));
    requests.replaceChildren(
      ...activity.requests.map(({ method, path, size }) =>
        h("tr", {}, h("td", { class: "mono" }, method), h("td", { class: "mono" }, path), h("td", { class: "mono muted" }, size ? `${size} B` : "")),
      ),
    );
  };
  await look();
  const timer = setInterval(() => {
    if (document.visibilityState === "visible") look().catch(() => {}); // a sandbox that has ended is no news here
  }, LOOK_SECONDS * 1000);
  return () => clearInterval(timer);
}

async function jobCard(job, known) {
  const players = await Promise.all(job.files.map(([url, type]) => player({ url, type, name: `Result of ${job.endpoint_id}` })));
  const shown = players.filter(Boolean);
  const how = job.service === "queue" ? "" : " · direct";
  return h(
    "li",
    {},
    h(
      "div",
      { class: "card job" },
      shown.length ? h("div", { class: "thumbs" }, shown) : null,
      known.has(job.endpoint_id)
        ? h("a", { href: `#/${encodePath(job.endpoint_id)}` }, job.endpoint_id)
        : h("strong", {}, job.endpoint_id),
      job.input ? h("span", { class: "muted" }, job.input) : null,
      job.error ? h("span", { class: "problem" }, job.error) : null,
      h(
        "span",
        { class: "state" },
        h("span", { class: "pill", "data-tone": TONES[job.state] ?? "busy" }, STATES[job.state]),
        h("span", { class: "muted" }, `${job.seconds.toFixed(1)} s${how}`),
      ),
      h("span", { class: "request mono" }, job.request_id),
    ),
  );
}

// The address is the view: a link to the content would be taken for one.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  const input = document.querySelector("input[type=search]");
  if (input) input.focus();
  else location.hash = "#/";
});
addEventListener("hashchange", () => route());
route(true);

// Python that makes the call which a form describes.

const KEYWORD = /^(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)$/;

/** A JSON value as Python writes it. */
export function python(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return String(value);
  const open = Array.isArray(value) ? "[" : "{";
  const close = Array.isArray(value) ? "]" : "}";
  const inner = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((one) => python(one, inner))
    : Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${python(one, inner)}`);
  const line = `${open}${parts.join(", ")}${close}`;
  if (!parts.length || (line.length + indent.length < 60 && !line.includes("\n"))) return line;
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}`;
}

/** The ways to call an endpoint, each `[title, code]`. `detail` is what the sandbox tells of it. */
export function snippets(detail, input) {
  return detail.module ? typed(detail, input) : untyped(detail, input);
}

function assemble(imports, body) {
  return `${imports.join("\n")}\n\n${body.join("\n")}\n`;
}

function typed(detail, input) {
  const { package: root, name, docs, files } = detail.module;
  const [owner, module] = name.split(".");
  const load = `from ${root}.${owner} import ${module}`;
  const known = docs.Input ?? {};
  // A field whose attribute has another name, and anything nested, goes in by the names of the wire.
  const plain = Object.entries(input).every(
    ([key, value]) => Object.hasOwn(known, key) && !KEYWORD.test(key) && (typeof value !== "object" || isFlat(value)),
  );
  const made = (indent) => {
    if (!plain) return `${module}.Input.from_dict(${python(input, indent)})`;
    const parts = Object.entries(input).map(([key, value]) => `${key}=${python(value, `${indent}    `)}`);
    const line = `${module}.Input(${parts.join(", ")})`;
    if (line.length + indent.length < 76 && !line.includes("\n")) return line;
    return `${module}.Input(\n${parts.map((part) => `${indent}    ${part},\n`).join("")}${indent})`;
  };
  const file = files[0];
  const shown = ["print(output)"];
  if (file) shown.push(`output.${file}.save(".")  # under its own name`);
  const later = file ? shown.with(1, `await output.${file}.save_async(".")  # under its own name`) : shown;
  return build({
    load,
    target: module,
    input: made(""),
    nested: made("    "),
    shown,
    later,
    streams: Boolean(detail.metadata.stream_url),
  });
}

function untyped(detail, input) {
  return build({
    load: "import fal_runtime",
    before: `endpoint = fal_runtime.endpoint(${python(detail.id)})`,
    target: "endpoint",
    input: python(input),
    nested: python(input, "    "),
    shown: ["print(output)"],
    later: ["print(output)"],
    streams: Boolean(detail.metadata.stream_url),
  });
}

function build({ load, before, target, input, nested, shown, later, streams }) {
  const lead = before ? [before] : [];
  const given = `arguments = ${input}`;
  const ways = [
    ["Script", assemble([load], [...lead, given, `output = ${target}.subscribe(arguments)`, ...shown])],
    [
      "Async",
      assemble(
        ["import asyncio", "", load],
        [
          ...(before ? [before, ""] : []),
          "",
          "async def main() -> None:",
          `    arguments = ${nested}`,
          `    output = await ${target}.subscribe_async(arguments)`,
          ...later.map((line) => `    ${line}`),
          "",
          "",
          "asyncio.run(main())",
        ],
      ),
    ],
    [
      "Queue",
      assemble(
        [load],
        [
          ...lead,
          given,
          `handle = ${target}.submit(arguments)`,
          "print(handle.request_id)  # enough to find the job again, in any process",
          "for event in handle.events(logs=True):",
          "    print(event)",
          "output = handle.result()",
          ...shown,
        ],
      ),
    ],
    [
      "Webhook",
      assemble(
        ["from collections.abc import Mapping", "", load],
        [
          ...(before ? [before, ""] : []),
          "",
          "def handle(headers: Mapping[str, str], body: bytes) -> None:",
          '    """What your server does with the request that comes to its webhook."""',
          `    event = ${target}.parse_webhook(headers, body)  # refuses what is not signed by the platform`,
          "    print(event)",
          "",
          "",
          given,
          `job = ${target}.submit(arguments, webhook_url="https://example.com/hook")`,
          "print(job.request_id)",
        ],
      ),
    ],
  ];
  if (streams) {
    ways.push(["Stream", assemble([load], [...lead, given, `for event in ${target}.stream(arguments):`, "    print(event)"])]);
  }
  return ways;
}

function isFlat(value) {
  return Array.isArray(value) && value.every((one) => typeof one !== "object");
}

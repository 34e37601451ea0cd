// What a schema says, put so that a form or a table can be made of it.

const DEFINITION = "#/$defs/";

/** The schema with references followed, `allOf` merged, and null taken out of unions. `component` is its last reference. */
export function resolve(schema, definitions) {
  let component = null;
  let nullable = false;
  for (let depth = 0; depth < 20; depth += 1) {
    if (schema.$ref !== undefined || schema.allOf) {
      const { $ref, allOf = [], ...rest } = schema;
      const parts = [...allOf];
      if ($ref !== undefined) {
        component = $ref.slice(DEFINITION.length);
        parts.unshift(definitions[component] ?? {});
      }
      schema = Object.assign({}, ...parts, rest);
      continue;
    }
    if (Array.isArray(schema.type)) {
      const { type, ...rest } = schema;
      schema = type.length === 1 ? { ...rest, type: type[0] } : { anyOf: type.map((one) => ({ ...rest, type: one })) };
      if (rest.default !== undefined) schema.default = rest.default;
      continue;
    }
    const members = schema.anyOf ?? schema.oneOf;
    if (!members) break;
    const { anyOf, oneOf, ...rest } = schema;
    const kept = members.filter((member) => member.type !== "null");
    nullable ||= kept.length < members.length;
    if (kept.length !== 1) {
      schema = { ...rest, union: kept };
      break;
    }
    schema = { ...kept[0], ...rest };
  }
  return { ...schema, component, nullable };
}

/** The kind of control that a resolved schema asks for. */
export function kindOf(schema) {
  if (schema.union) return "union";
  if (schema.enum || schema.const !== undefined) return "choice";
  if (["boolean", "integer", "number", "string"].includes(schema.type)) return schema.type;
  if (schema.type === "array" || schema.items) return schema.prefixItems ? "json" : "array";
  if (schema.properties && Object.keys(schema.properties).length) return "object";
  return "json";
}

/** The values of a choice. */
export function choices(schema) {
  return schema.enum ?? [schema.const];
}

/** An object's fields in the platform's own display order: `[name, schema, required]`. */
export function fieldsOf(schema) {
  const properties = schema.properties ?? {};
  const names = new Set([...(schema["x-fal-order-properties"] ?? []), ...Object.keys(properties)]);
  const required = new Set(schema.required ?? []);
  return [...names].filter((name) => Object.hasOwn(properties, name)).map((name) => [name, properties[name], required.has(name)]);
}

/** Whether a field takes the URL of a file. */
export function takesFile(name, schema) {
  return schema.format === "uri" || /(^|_)urls?$/.test(name);
}

/** A type in words. */
export function typeOf(raw, definitions) {
  const schema = resolve(raw, definitions);
  const kind = kindOf(schema);
  const or = schema.nullable ? " or null" : "";
  if (kind === "union") return [...new Set(schema.union.map((one) => typeOf(one, definitions)))].join(" or ") + or;
  if (kind === "choice") return (schema.type ?? "value") + or;
  if (kind === "array") return `list of ${typeOf(schema.items ?? {}, definitions)}${or}`;
  if (kind === "object") return (schema.component ? schema.component.split("__").pop() : "object") + or;
  return (schema.type ?? "any") + or;
}

function span(low, high, above, below, unit) {
  const from = low ?? above;
  const to = high ?? below;
  if (low !== undefined && high !== undefined) return low === high ? `${low}${unit}` : `${low} to ${high}${unit}`;
  const words = [];
  if (from !== undefined) words.push(low !== undefined ? `at least ${low}` : `above ${above}`);
  if (to !== undefined) words.push(high !== undefined ? `at most ${high}` : `below ${below}`);
  return words.length ? words.join(", ") + unit : "";
}

/** A schema's limits in words; empty if it has none. */
export function limitsOf(raw, definitions) {
  const schema = resolve(raw, definitions);
  const kind = kindOf(schema);
  if (kind === "choice") return choices(schema).map((one) => JSON.stringify(one)).join(", ");
  if (kind === "union") return schema.union.map((one) => limitsOf(one, definitions)).filter(Boolean).join("; ");
  const texts = [
    span(schema.minimum, schema.maximum, schema.exclusiveMinimum, schema.exclusiveMaximum, ""),
    schema.multipleOf === undefined ? "" : `a multiple of ${schema.multipleOf}`,
    span(schema.minLength, schema.maxLength, undefined, undefined, " characters"),
    span(schema.minItems, schema.maxItems, undefined, undefined, " items"),
    schema.pattern === undefined ? "" : `matches ${schema.pattern}`,
  ];
  if (kind === "array") texts.push(limitsOf(schema.items ?? {}, definitions));
  return texts.filter(Boolean).join("; ");
}

/** What is wrong with a number or a text; null if nothing is. */
export function complaint(value, schema) {
  if (typeof value === "number") {
    if (schema.type === "integer" && !Number.isInteger(value)) return "must be a whole number";
    if (schema.type === "integer" && !Number.isSafeInteger(value)) return "is too large for a browser to send exactly";
    const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below, multipleOf: step } = schema;
    const outside =
      value < (minimum ?? -Infinity) || value > (maximum ?? Infinity) || value <= (above ?? -Infinity) || value >= (below ?? Infinity);
    if (outside) return `must be ${span(minimum, maximum, above, below, "")}, and is ${value}`;
    if (step && Math.abs(value / step - Math.round(value / step)) > 1e-9) return `must be a multiple of ${step}`;
  } else {
    const { length } = [...value];
    if (length < (schema.minLength ?? 0)) return `must have at least ${schema.minLength} characters, and has ${length}`;
    if (length > (schema.maxLength ?? Infinity)) return `must have at most ${schema.maxLength} characters, and has ${length}`;
    if (schema.pattern !== undefined && !matches(schema.pattern, value)) return `must match ${schema.pattern}`;
  }
  return null;
}

function matches(pattern, value) {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true; // A pattern of another dialect is for the server to judge.
  }
}

const SAMPLES = [
  [/image|mask|frame|face|picture|photo/, "https://example.com/picture.png"],
  [/video/, "https://example.com/clip.mp4"],
  [/audio|voice|music|song|speech/, "https://example.com/sound.wav"],
];

/** A value that a field may well have. */
export function sample(name, raw, definitions, depth = 0) {
  const schema = resolve(raw, definitions);
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  const kind = kindOf(schema);
  if (kind === "union") return sample(name, schema.union[0], definitions, depth);
  if (kind === "choice") return choices(schema)[0];
  if (kind === "boolean") return false;
  if (kind === "integer" || kind === "number") {
    const step = schema.multipleOf ?? 1;
    if (schema.minimum !== undefined) return Math.ceil(schema.minimum / step) * step;
    if (schema.exclusiveMinimum !== undefined) return (Math.floor(schema.exclusiveMinimum / step) + 1) * step;
    return Math.min(step, schema.maximum ?? step);
  }
  if (kind === "string") {
    const url = SAMPLES.find(([pattern]) => pattern.test(name))?.[1] ?? "https://example.com/file.bin";
    const text = takesFile(name, schema) ? url : "A lighthouse at dawn, watercolour";
    return text.padEnd(schema.minLength ?? 0, ".").slice(0, schema.maxLength ?? Infinity);
  }
  if (depth > 4) return kind === "array" ? [] : {};
  if (kind === "array") {
    const count = Math.max(1, schema.minItems ?? 1);
    return Array.from({ length: count }, () => sample(name, schema.items ?? {}, definitions, depth + 1));
  }
  return sampleObject(schema, definitions, depth + 1);
}

/** An object with a value for each field that it must have. */
export function sampleObject(raw, definitions, depth = 0) {
  const wanted = fieldsOf(resolve(raw, definitions)).filter(([, , required]) => required);
  return Object.fromEntries(wanted.map(([name, schema]) => [name, sample(name, schema, definitions, depth)]));
}

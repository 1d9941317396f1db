"use strict";
// Shows the OpenAPI document. Everything is put in as text, nothing as markup.
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const shape = (schema, all, depth = 0) => {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 3 ? name : shape(all[name], all, depth + 1);
  }
  if (schema.anyOf) return schema.anyOf.map((one) => shape(one, all, depth)).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${shape(schema.items, all, depth + 1)}]`;
  if (schema.properties) {
    const pad = "  ".repeat(depth + 1);
    const required = new Set(schema.required || []);
    const fields = Object.entries(schema.properties).map(
      ([name, of]) => `${pad}${name}${required.has(name) ? "" : "?"}: ${shape(of, all, depth + 1)}`,
    );
    return `{\n${fields.join("\n")}\n${"  ".repeat(depth)}}`;
  }
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
};

const operation = (method, path, found, all) => {
  const box = element("details");
  box.dataset.text = `${method} ${path} ${found.operationId} ${found.description || ""}`.toLowerCase();
  const head = element("summary");
  head.append(element("span", method.toUpperCase(), "method"), element("code", path));
  box.append(head);
  const need = found["x-permission"] || (found.security.length ? "signed in" : "public");
  box.append(element("p", `${found.operationId} · needs: ${need}`, "need"));
  if (found.description) box.append(element("p", found.description));
  for (const one of found.parameters || []) {
    box.append(element("p", `${one.in} ${one.name}${one.required ? "" : "?"}: ${shape(one.schema, all)}`));
  }
  const body = found.requestBody?.content?.["application/json"]?.schema;
  if (body) box.append(element("p", "Body"), element("pre", shape(body, all)));
  for (const [status, answer] of Object.entries(found.responses)) {
    const schema = answer.content?.["application/json"]?.schema;
    if (schema) box.append(element("p", `Answer ${status}`), element("pre", shape(schema, all)));
  }
  return box;
};

const main = document.getElementById("operations");
fetch("/api/v1/openapi.json")
  .then((answer) => answer.json())
  .then((api) => {
    main.replaceChildren();
    const byTag = new Map();
    for (const [path, methods] of Object.entries(api.paths))
      for (const [method, found] of Object.entries(methods)) {
        const tag = (found.tags || ["other"])[0];
        if (!byTag.has(tag)) byTag.set(tag, []);
        byTag.get(tag).push(operation(method, path, found, api.components.schemas));
      }
    for (const [tag, boxes] of byTag) main.append(element("h2", tag), ...boxes);
  })
  .catch((problem) => main.replaceChildren(element("p", `The document did not load: ${problem}`)));

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const box of main.querySelectorAll("details")) box.hidden = !box.dataset.text.includes(wanted);
});

// The service's REST API, typed by schema.d.ts (generated from OpenAPI: `npm run client`).
//
//     const page = await take(api.GET("/api/v1/vms", { params: { query: { limit: 50 } } }));
//
// `take` gives the body or throws ApiError; nothing else is ever thrown.

import createClient from "openapi-fetch";
import { toApiError, unreachable } from "./problem";
import type { components, paths } from "./schema";

export const api = createClient<paths>({
  baseUrl: "",
  credentials: "same-origin",
  headers: { accept: "application/json, application/problem+json" },
  querySerializer: { array: { style: "form", explode: true } },
});

export type Schemas = components["schemas"];

interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

export async function take<Data>(call: Promise<Answer<Data>>): Promise<Data> {
  let answer: Answer<Data>;
  try {
    answer = await call;
  } catch (cause) {
    throw unreachable(cause);
  }
  if (!answer.response.ok) throw toApiError(answer.error, answer.response);
  return answer.data as Data;
}

/** A fresh key, so that a call that is sent twice acts once. */
export function idempotencyKey(): string {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
}

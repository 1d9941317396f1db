export { api, idempotencyKey, type Schemas, take } from "./client";
export { ApiError, asApiError, failureOf, fieldError } from "./problem";
export { makeQueryClient } from "./query-client";

import { sentence } from "@/ui/format";
import type { components } from "./schema";

export type Problem = components["schemas"]["Problem"];

/** What the service answered instead of what was asked for (RFC 9457), or that it did not answer. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly fields: ReadonlyArray<{ field: string; problem: string }>;
  /** Whether the same call may succeed: `now` at once, `later` after a while, `never` unchanged. */
  readonly retry: "never" | "later" | "now";
  readonly requestId: string;

  constructor(problem: Partial<Problem> & { status: number; code: string; detail: string }) {
    super(problem.detail);
    this.name = "ApiError";
    this.status = problem.status;
    this.code = problem.code;
    this.params = problem.params ?? {};
    this.fields = problem.fields ?? [];
    this.retry = problem.retry ?? "never";
    this.requestId = problem.request_id ?? "";
  }

  get signedOut(): boolean {
    return this.status === 401;
  }
}

/** From whatever came back: a problem document, a proxy's page, or nothing. */
export function toApiError(body: unknown, response: Response | undefined): ApiError {
  const status = response?.status ?? 0;
  if (typeof body === "object" && body !== null && "code" in body && "detail" in body) {
    const problem = body as Partial<Problem> & { code: string; detail: string };
    return new ApiError({ ...problem, status: problem.status ?? status });
  }
  const passing = status === 429 || status >= 502;
  return new ApiError({
    status,
    code: `http_${status}`,
    detail: passing
      ? "The service is busy or starting. Try again in a moment."
      : `The service answered with status ${status}. Its log says why.`,
    retry: passing ? "later" : "never",
  });
}

export function unreachable(cause: unknown): ApiError {
  const error = new ApiError({
    status: 0,
    code: "service_unreachable",
    detail: "The service does not answer. Check that it runs and that the network is up.",
    retry: "now",
  });
  error.cause = cause;
  return error;
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError({
    status: 0,
    code: "dashboard_error",
    detail: error instanceof Error ? error.message : String(error),
  });
}

const TITLES: Record<number, string> = {
  0: "The service cannot be reached",
  401: "You are signed out",
  403: "You may not do this",
  404: "This does not exist",
  409: "This is not possible now",
  413: "This is too much at once",
  422: "Some values are not right",
  429: "Too many tries",
};

/** What a page or a form shows of an error. */
export function failureOf(error: unknown): { title: string; detail: string; code: string } {
  const { status, code, message } = asApiError(error);
  return {
    title:
      code === "dashboard_error"
        ? "The dashboard made a mistake"
        : (TITLES[status] ?? (status >= 500 ? "The service has a problem" : "This did not work")),
    detail: sentence(message),
    code,
  };
}

/** The message for one field of a form, if the service refused that field. */
export function fieldError(error: unknown, field: string): string | null {
  if (!(error instanceof ApiError)) return null;
  const found = error.fields.find((one) => one.field === field || one.field.endsWith(`.${field}`));
  return found ? sentence(found.problem) : null;
}

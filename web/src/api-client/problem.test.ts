import { describe, expect, it, vi } from "vitest";
import { take } from "./client";
import { ApiError, failureOf, fieldError, toApiError } from "./problem";
import { makeQueryClient, shouldRetry } from "./query-client";

const answer = (status: number) => new Response(null, { status });

describe("toApiError", () => {
  it("keeps code, params and fields of a problem document", () => {
    const error = toApiError(
      {
        type: "about:blank",
        title: "x",
        status: 409,
        code: "vm_busy",
        detail: "a backup of web-001 runs",
        params: { run_id: "r" },
        fields: [{ field: "disks.0.key", problem: "is not known" }],
        retry: "later",
        request_id: "q",
      },
      answer(409),
    );
    expect(error).toMatchObject({
      status: 409,
      code: "vm_busy",
      params: { run_id: "r" },
      retry: "later",
      requestId: "q",
    });
    expect(failureOf(error)).toEqual({
      title: "This is not possible now",
      detail: "A backup of web-001 runs",
      code: "vm_busy",
    });
    expect(fieldError(error, "key")).toBe("Is not known");
    expect(fieldError(error, "name")).toBeNull();
  });

  it("makes something of a proxy's page", () => {
    expect(toApiError("<html>", answer(503))).toMatchObject({ code: "http_503", retry: "later" });
    expect(toApiError("<html>", answer(500))).toMatchObject({ code: "http_500", retry: "never" });
  });
});

describe("take", () => {
  it("gives the body", async () => {
    await expect(take(Promise.resolve({ data: { a: 1 }, response: answer(200) }))).resolves.toEqual(
      { a: 1 },
    );
  });
  it("gives nothing for 204", async () => {
    await expect(take(Promise.resolve({ response: answer(204) }))).resolves.toBeUndefined();
  });
  it("says that the service is unreachable", async () => {
    await expect(take(Promise.reject(new TypeError("Failed to fetch")))).rejects.toMatchObject({
      code: "service_unreachable",
      retry: "now",
    });
  });
});

describe("the query client", () => {
  const error = (retry: "never" | "later", status = 503) =>
    new ApiError({ status, code: "x", detail: "x", retry });
  it("tries again only what may pass by itself", () => {
    expect(shouldRetry(0, error("later"))).toBe(true);
    expect(shouldRetry(3, error("later"))).toBe(false);
    expect(shouldRetry(0, error("never"))).toBe(false);
    expect(shouldRetry(0, new Error("bug"))).toBe(false);
  });
  it("reports a 401 of a query, but not that of the sign-in", async () => {
    const signedOut = vi.fn();
    const client = makeQueryClient(signedOut);
    const fail = () => Promise.reject(error("never", 401));
    await client
      .fetchQuery({ queryKey: ["a"], queryFn: fail, meta: { signIn: true } })
      .catch(() => undefined);
    expect(signedOut).not.toHaveBeenCalled();
    await client.fetchQuery({ queryKey: ["b"], queryFn: fail }).catch(() => undefined);
    expect(signedOut).toHaveBeenCalledOnce();
  });
});

import { api, take } from "@/api-client";

export type RunInfo = Awaited<ReturnType<ReturnType<typeof runQuery>["queryFn"]>>;

export function runQuery(id: string) {
  return {
    queryKey: ["runs", "one", id],
    queryFn: () => take(api.GET("/api/v1/runs/{run_id}", { params: { path: { run_id: id } } })),
  };
}

/** The newest lines that a run wrote. */
export function runLogQuery(id: string) {
  return {
    queryKey: ["logs", "run", id],
    queryFn: () => take(api.GET("/api/v1/logs", { params: { query: { run_id: id, limit: 200 } } })),
  };
}

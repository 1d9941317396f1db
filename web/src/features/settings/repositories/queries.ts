import { api, take } from "@/api-client";

export function repositoriesQuery() {
  return { queryKey: ["repositories"], queryFn: () => take(api.GET("/api/v1/repositories")) };
}

import { api, take } from "@/api-client";

export function platformsQuery() {
  return { queryKey: ["platforms"], queryFn: () => take(api.GET("/api/v1/platforms")) };
}

import { api, type Schemas, take } from "@/api-client";

/** For calls of one repository: which one. */
export function inRepository(id: string) {
  return { params: { path: { repository_id: id } } };
}

export function repositoriesQuery() {
  return { queryKey: ["repositories"], queryFn: () => take(api.GET("/api/v1/repositories")) };
}

export function repositoryQuery(id: string) {
  return {
    queryKey: ["repositories", id],
    queryFn: () => take(api.GET("/api/v1/repositories/{repository_id}", inRepository(id))),
  };
}

export function storageHistoryQuery(id: string) {
  return {
    queryKey: ["repositories", id, "storage"],
    queryFn: () =>
      take(api.GET("/api/v1/repositories/{repository_id}/storage/history", inRepository(id))),
  };
}

export function placeOf(repository: Schemas["RepositoryInfo"]): string {
  return repository.endpoint
    ? `${repository.location} at ${repository.endpoint}`
    : repository.location;
}

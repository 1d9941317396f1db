import { api, type Schemas, take } from "@/api-client";
import { keyOf, type Place, queryOf } from "./places";

export type RestoreMount = Schemas["RestoreMount"];

const PAGE = 500;

export function mountsQuery() {
  return { queryKey: ["mounts"], queryFn: () => take(api.GET("/api/v1/restore/mounts")) };
}

/** Opens a restore point; the same once more gives the same mount. Not below `mounts`: what an event
 * says of mounts must not open one. */
export function openedMountQuery(backupId: string) {
  return {
    queryKey: ["opened-mount", backupId],
    queryFn: () => take(api.POST("/api/v1/restore/mount", { body: { backup_id: backupId } })),
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
    retry: false,
  };
}

/** A folder, page by page. */
export function filesQuery(mountId: string, place: Place) {
  return {
    queryKey: ["files", mountId, keyOf(place)],
    queryFn: ({ pageParam }: { pageParam: string | undefined }) =>
      take(
        api.GET("/api/v1/restore/{mount_id}/files", {
          params: {
            path: { mount_id: mountId },
            query: { ...queryOf(place), limit: PAGE, cursor: pageParam ?? null },
          },
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last: Schemas["FileList"]) => last.next_cursor ?? undefined,
    staleTime: 5 * 60_000,
    refetchOnWindowFocus: false,
  };
}

/** The first page of a folder, for the tree. */
export function folderQuery(mountId: string, place: Place) {
  return {
    queryKey: ["files", mountId, keyOf(place), "first"],
    queryFn: () =>
      take(
        api.GET("/api/v1/restore/{mount_id}/files", {
          params: { path: { mount_id: mountId }, query: { ...queryOf(place), limit: PAGE } },
        }),
      ),
    staleTime: 5 * 60_000,
    refetchOnWindowFocus: false,
  };
}

export function searchQuery(mountId: string, place: Place, text: string) {
  return {
    queryKey: ["files", mountId, keyOf(place), "search", text],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      take(
        api.GET("/api/v1/restore/{mount_id}/search", {
          params: { path: { mount_id: mountId }, query: { ...queryOf(place), q: text } },
          signal,
        }),
      ),
    staleTime: 5 * 60_000,
    refetchOnWindowFocus: false,
  };
}

export function previewQuery(mountId: string, place: Place) {
  return {
    queryKey: ["files", mountId, keyOf(place), "preview"],
    queryFn: () =>
      take(
        api.GET("/api/v1/restore/{mount_id}/preview", {
          params: { path: { mount_id: mountId }, query: queryOf(place) },
        }),
      ),
    staleTime: 5 * 60_000,
    refetchOnWindowFocus: false,
  };
}

/** A path in the restore points of a VM, the newest first. Each costs the opening of a point. */
export function versionsQuery(vmId: string, place: Place) {
  return {
    queryKey: ["files", "versions", vmId, keyOf(place)],
    queryFn: ({ pageParam }: { pageParam: string | undefined }) =>
      take(
        api.GET("/api/v1/files/versions", {
          params: {
            query: { vm_id: vmId, ...queryOf(place), limit: 10, cursor: pageParam ?? null },
          },
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last: Schemas["FileVersions"]) => last.next_cursor ?? undefined,
    staleTime: 5 * 60_000,
    refetchOnWindowFocus: false,
  };
}

export function diffQuery(place: Place, left: string, right: string) {
  return {
    queryKey: ["files", "diff", keyOf(place), left, right],
    queryFn: () =>
      take(
        api.GET("/api/v1/files/diff", {
          params: {
            query: { ...queryOf(place), left_backup_id: left, right_backup_id: right },
          },
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
  };
}

import { api, type Schemas, take } from "@/api-client";

export type BackupJob = Schemas["BackupJob"];
export type BackupChain = Schemas["BackupChain"];

export function backupQuery(id: string) {
  return {
    queryKey: ["backups", "one", id],
    queryFn: () =>
      take(api.GET("/api/v1/backup/{backup_id}", { params: { path: { backup_id: id } } })),
  };
}

/** Per disk, each full capture and the incrementals since; the newest chain first. */
export function chainsQuery(vmId: string, repositoryId: string) {
  return {
    queryKey: ["backups", "chains", vmId, repositoryId],
    queryFn: async () => {
      const found = await take(
        api.GET("/api/v1/backup/chain", {
          params: { query: { vm_id: vmId, repository_id: repositoryId } },
        }),
      );
      return ("chains" in found ? found.chains : [found]).toReversed();
    },
  };
}

export interface BackupWish {
  vm_id: string;
  backup_type: "full" | "incremental";
  repository_id: string;
}

/** An estimate: it touches neither the VM nor the repository. */
export function previewQuery(wish: BackupWish) {
  return {
    queryKey: ["backup-preview", wish],
    queryFn: () => take(api.POST("/api/v1/backup/preview", { body: wish })),
    staleTime: 30_000,
    refetchOnWindowFocus: false,
  };
}

"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { createContext, type ReactNode, useContext, useMemo, useState } from "react";
import { api, failureOf, idempotencyKey, type Schemas, take } from "@/api-client";
import { vmQuery } from "@/features/vms/queries";
import { useToast } from "@/ui/toast";
import { StartBackupModal } from "./start-backup-modal";

export interface BackupTarget {
  id: string;
  name: string;
}

interface StartBackup {
  /** One click: an incremental to where the VM's last backup went. Asks only if nobody can know. */
  now: (vm: BackupTarget) => void;
  /** Asks for type and repository first; without a VM also for that. */
  ask: (vm?: BackupTarget) => void;
  /** The VM whose start is being asked for now. */
  starting: string | null;
}

const Context = createContext<StartBackup | null>(null);

export function useStartBackup(): StartBackup {
  const value = useContext(Context);
  if (!value) throw new Error("useStartBackup outside of StartBackupProvider");
  return value;
}

export function StartBackupProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const toast = useToast();
  const router = useRouter();
  const [asking, setAsking] = useState<{ vm: BackupTarget | undefined } | null>(null);
  const start = useMutation({
    mutationFn: async (vm: BackupTarget) => {
      const detail = await client.fetchQuery(vmQuery(vm.id));
      if (!detail.default_repository_id) return null;
      return startBackup({
        vm_id: vm.id,
        backup_type: "incremental",
        repository_id: detail.default_repository_id,
      });
    },
    onSuccess: (job, vm) => {
      if (!job) {
        setAsking({ vm });
        return;
      }
      for (const key of ["vms", "backups", "runs", "overview"])
        void client.invalidateQueries({ queryKey: [key] });
      toast({
        tone: "ok",
        title: `Backup of ${job.vm_name} started`,
        text: job.repository_name ? `Into ${job.repository_name}` : "",
        action: {
          label: "Watch it",
          onSelect: () => router.push(`/backups/${encodeURIComponent(job.id)}`),
        },
      });
    },
    onError: (error, vm) => {
      const failure = failureOf(error);
      toast({
        tone: "bad",
        title: `Backup of ${vm.name} did not start`,
        text: failure.detail,
        action: { label: "Choose options", onSelect: () => setAsking({ vm }) },
      });
    },
  });
  const { mutate, isPending, variables } = start;
  const value = useMemo<StartBackup>(
    () => ({
      now: (vm) => mutate(vm),
      ask: (vm) => setAsking({ vm }),
      starting: isPending ? (variables?.id ?? null) : null,
    }),
    [mutate, isPending, variables],
  );
  return (
    <Context value={value}>
      {children}
      {asking && <StartBackupModal vm={asking.vm} onClose={() => setAsking(null)} />}
    </Context>
  );
}

export function startBackup(body: Schemas["BackupStart"]) {
  return take(
    api.POST("/api/v1/backup/start", { body, headers: { "Idempotency-Key": idempotencyKey() } }),
  );
}

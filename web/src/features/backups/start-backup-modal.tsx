"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { failureOf } from "@/api-client";
import { repositoriesQuery } from "@/features/settings/repositories/queries";
import { listVms, vmQuery } from "@/features/vms/queries";
import { ChoiceField, SelectField, TextField } from "@/ui/field";
import { FormModal } from "@/ui/modal";
import { useToast } from "@/ui/toast";
import { BackupPlan } from "./backup-plan";
import { type BackupTarget, startBackup } from "./start-backup";

export function StartBackupModal({
  vm,
  onClose,
}: {
  vm: BackupTarget | undefined;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const toast = useToast();
  const router = useRouter();
  const [chosen, setChosen] = useState<BackupTarget | undefined>(vm);
  const [text, setText] = useState("");
  const [type, setType] = useState<"full" | "incremental">("incremental");
  const [repository, setRepository] = useState("");
  const repositories = useQuery(repositoriesQuery());
  const detail = useQuery({ ...vmQuery(chosen?.id ?? ""), enabled: Boolean(chosen) });
  const found = useQuery({
    queryKey: ["vms", "choose", text],
    queryFn: () => listVms({ q: text }, { by: "name", descending: false }, 20, undefined),
    enabled: !vm,
  });
  const target = repository || detail.data?.default_repository_id || "";
  const start = useMutation({
    mutationFn: () =>
      startBackup({ vm_id: chosen?.id ?? null, backup_type: type, repository_id: target }),
    onSuccess: (job) => {
      for (const key of ["vms", "backups", "runs", "overview"])
        void client.invalidateQueries({ queryKey: [key] });
      toast({
        tone: "ok",
        title: `Backup of ${job.vm_name} started`,
        action: {
          label: "Watch it",
          onSelect: () => router.push(`/backups/${encodeURIComponent(job.id)}`),
        },
      });
      onClose();
    },
  });
  const cannot = detail.data && !detail.data.can_back_up ? detail.data.cannot_back_up_reason : null;
  return (
    <FormModal
      open
      onClose={onClose}
      size="lg"
      title="Start backup"
      description={chosen ? chosen.name : "Choose a virtual machine"}
      submitLabel="Start backup"
      busy={start.isPending}
      failure={start.error ? failureOf(start.error) : null}
      disabledReason={
        !chosen ? "Choose a virtual machine" : (cannot ?? (target ? null : "Choose a repository"))
      }
      onSubmit={() => start.mutate()}
    >
      {!vm && (
        <>
          <TextField
            label="Find a virtual machine"
            value={text}
            onChange={setText}
            placeholder="Part of the name"
            autoFocus
            autoComplete="off"
          />
          <SelectField
            label="Virtual machine"
            value={chosen?.id ?? ""}
            placeholder={found.isPending ? "Loading…" : "Choose one"}
            options={(found.data?.items ?? []).map((one) => ({ value: one.id, label: one.name }))}
            hint={
              found.data && found.data.total > 20
                ? `The first 20 of ${found.data.total}; type more of the name`
                : undefined
            }
            onChange={(id) => {
              const one = found.data?.items.find((item) => item.id === id);
              if (one) setChosen({ id: one.id, name: one.name });
            }}
          />
        </>
      )}
      <ChoiceField
        label="Type"
        value={type}
        onChange={setType}
        options={[
          {
            value: "incremental",
            label: "Incremental",
            hint: "Reads what changed since the last point",
          },
          { value: "full", label: "Full", hint: "Reads every used block again" },
        ]}
      />
      <SelectField
        label="Repository"
        value={target}
        onChange={setRepository}
        placeholder={repositories.isPending ? "Loading…" : "Choose one"}
        options={(repositories.data?.repositories ?? []).map((one) => ({
          value: one.id,
          label: one.state === "offline" ? `${one.name} (offline)` : one.name,
          disabled: one.state === "offline",
        }))}
        error={cannot}
      />
      {chosen && target && !cannot && (
        <BackupPlan wish={{ vm_id: chosen.id, backup_type: type, repository_id: target }} />
      )}
    </FormModal>
  );
}

"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { api, failureOf, fieldError, idempotencyKey, take } from "@/api-client";
import { type BackupJob, chainsQuery } from "@/features/backups/queries";
import { Button } from "@/ui/button";
import { ChoiceField } from "@/ui/field";
import { exactTime } from "@/ui/format";
import { FormModal } from "@/ui/modal";
import { useToast } from "@/ui/toast";
import { useUrlState } from "@/ui/url-state";
import { WizardSteps } from "@/ui/wizard-steps";
import { RestoreSummary } from "./restore-summary";
import { DiskTarget, VmTarget } from "./restore-targets";

export interface VmChoice {
  platform_id: string;
  mode: "new" | "overwrite";
  name: string;
  keep_identity: boolean;
  isolated: boolean;
  start: boolean;
  confirm: string;
}

export interface DiskChoice {
  disk: string;
  format: "qcow2" | "raw" | "vmdk";
  output: string;
}

type What = "vm" | "disk";
const STEPS = ["What", "Where", "Summary"] as const;

/** A whole VM or one disk out of a restore point: what, where to, and what will happen. */
export function RestoreWizard({ job, onClose }: { job: BackupJob; onClose: () => void }) {
  const { get } = useUrlState();
  const [step, setStep] = useState(0);
  const [what, setWhat] = useState<What>(get("restore") === "disk" ? "disk" : "vm");
  const [vm, setVm] = useState<VmChoice>({
    platform_id: "",
    mode: "new",
    name: `${job.vm_name}-restored`,
    keep_identity: false,
    isolated: true,
    start: false,
    confirm: "",
  });
  const disks = useDiskKeys(job);
  const [chosen, setDisk] = useState<DiskChoice>({ disk: "", format: "qcow2", output: "" });
  const key = chosen.disk || disks[0] || "";
  const disk: DiskChoice = {
    ...chosen,
    disk: key,
    output: chosen.output || defaultOutput(job.vm_name, key, chosen.format),
  };
  const restore = useRestore(job, what, vm, disk);
  const last = step === STEPS.length - 1;
  const preview = useVmPreview(job, vm, last && what === "vm");
  const missing =
    step === 0 ? null : (missingOf(what, vm, disk, job) ?? (last ? obstacleOf(preview) : null));
  return (
    <FormModal
      open
      onClose={onClose}
      size="xl"
      title="Restore"
      description={`${job.vm_name} as it was on ${exactTime(job.created_at)}`}
      submitLabel={last ? (what === "vm" ? "Restore VM" : "Restore disk") : "Next"}
      onSubmit={() => (last ? restore.mutate() : setStep(step + 1))}
      busy={restore.isPending}
      disabledReason={missing}
      danger={last && what === "vm" && vm.mode === "overwrite"}
      failure={restore.error ? failureOf(restore.error) : null}
      extra={
        step > 0 && (
          <Button
            variant="ghost"
            onClick={() => {
              restore.reset();
              setStep(step - 1);
            }}
          >
            Back
          </Button>
        )
      }
    >
      <WizardSteps names={STEPS} current={step} />
      {step === 0 && (
        <ChoiceField
          label="What to restore"
          value={what}
          onChange={setWhat}
          options={[
            {
              value: "vm",
              label: "The whole VM",
              hint: "All disks and its definition, as a new VM or over the old one",
            },
            {
              value: "disk",
              label: "One disk",
              hint: "As an image file on the service's host, to attach where you need it",
            },
          ]}
        />
      )}
      {step === 1 &&
        (what === "vm" ? (
          <VmTarget
            job={job}
            value={vm}
            onChange={(changes) => setVm((before) => ({ ...before, ...changes }))}
          />
        ) : (
          <DiskTarget
            disks={disks}
            value={disk}
            error={fieldError(restore.error, "output")}
            onChange={(changes) => setDisk((before) => ({ ...before, ...changes }))}
          />
        ))}
      {step === 2 && <RestoreSummary job={job} what={what} disk={disk} preview={preview} />}
    </FormModal>
  );
}

function missingOf(what: What, vm: VmChoice, disk: DiskChoice, job: BackupJob): string | null {
  if (what === "disk") {
    if (!disk.disk) return "Choose a disk";
    return disk.output.startsWith("/") ? null : "Say where the image goes: a path from /";
  }
  if (!vm.platform_id) return "Choose a platform";
  if (vm.mode === "new") return vm.name.trim() ? null : "Give the new VM a name";
  return vm.confirm.trim() === job.vm_name ? null : `Type ${job.vm_name} to confirm`;
}

function vmBody(job: BackupJob, vm: VmChoice) {
  return {
    backup_id: job.id,
    platform_id: vm.platform_id,
    mode: vm.mode,
    name: vm.mode === "new" ? vm.name.trim() : null,
    keep_identity: vm.mode === "new" && vm.keep_identity,
    isolated: vm.isolated,
    start: vm.start,
    confirm: vm.mode === "overwrite" ? vm.confirm.trim() : null,
  };
}

export type VmPreview = ReturnType<typeof useVmPreview>;

/** What the service says the restore would do; asked anew whenever the summary is opened. */
function useVmPreview(job: BackupJob, vm: VmChoice, enabled: boolean) {
  const body = vmBody(job, vm);
  return useQuery({
    queryKey: ["restore-preview", body],
    queryFn: () => take(api.POST("/api/v1/restore/vms/preview", { body })),
    enabled,
    gcTime: 0,
  });
}

function obstacleOf(preview: VmPreview): string | null {
  if (preview.isLoading) return "What will happen is still being worked out";
  return preview.data?.conflicts[0] ?? null;
}

function useRestore(job: BackupJob, what: What, vm: VmChoice, disk: DiskChoice) {
  const client = useQueryClient();
  const router = useRouter();
  const toast = useToast();
  return useMutation({
    mutationFn: () => {
      const headers = { "Idempotency-Key": idempotencyKey() };
      return what === "vm"
        ? take(api.POST("/api/v1/restore/vms", { body: vmBody(job, vm), headers }))
        : take(
            api.POST("/api/v1/restore/disks", { body: { backup_id: job.id, ...disk }, headers }),
          );
    },
    onSuccess: (accepted) => {
      for (const key of ["runs", "vms", "overview", "monitoring"])
        void client.invalidateQueries({ queryKey: [key] });
      toast({ tone: "ok", title: "The restore has begun" });
      router.push(`/monitoring/runs/${encodeURIComponent(accepted.run_id)}`);
    },
  });
}

/** The point's disks: from its run, or, when that is not on record, from the chain. */
function useDiskKeys(job: BackupJob): string[] {
  const own = [...new Set([...job.plan, ...job.disks].map((disk) => disk.key))];
  const chains = useQuery({
    ...chainsQuery(job.vm_id ?? "", job.repository_id ?? ""),
    enabled: own.length === 0 && Boolean(job.vm_id && job.repository_id),
  });
  if (own.length > 0) return own;
  const found = (chains.data ?? [])
    .filter((chain) => chain.backups.some((backup) => backup.id === job.id))
    .map((chain) => chain.disk_id);
  return [...new Set(found)].sort();
}

export function defaultOutput(vmName: string, disk: string, format: string): string {
  const base = disk.replace(/\.(raw|img|qcow2|vmdk)$/i, "");
  const name = base.startsWith(vmName) ? base : `${vmName}-${base}`;
  const safe = name.replaceAll(/[^A-Za-z0-9._-]/g, "_");
  return `/var/lib/holdfast/restores/${safe}.${format === "raw" ? "img" : format}`;
}

"use client";

import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { failureOf } from "@/api-client";
import type { BackupJob } from "@/features/backups/queries";
import { platformsQuery } from "@/features/settings/platforms/queries";
import { CheckField, ChoiceField, SelectField, TextField } from "@/ui/field";
import { ErrorState, Notice } from "@/ui/states";
import type { DiskChoice, VmChoice } from "./restore-wizard";

/** Where a VM goes, and who it is there. */
export function VmTarget({
  job,
  value,
  onChange,
}: {
  job: BackupJob;
  value: VmChoice;
  onChange: (changes: Partial<VmChoice>) => void;
}) {
  const platforms = useQuery(platformsQuery());
  const able = (platforms.data?.items ?? []).filter((one) => one.can_restore);
  const first = able[0]?.id;
  useEffect(() => {
    if (first && !value.platform_id) onChange({ platform_id: first });
  }, [first, value.platform_id, onChange]);
  if (platforms.error && !platforms.data)
    return (
      <ErrorState
        compact
        failure={failureOf(platforms.error)}
        onRetry={() => platforms.refetch()}
      />
    );
  return (
    <>
      {platforms.data && able.length === 0 && (
        <Notice tone="warn" title="No platform can take a VM">
          A VM is restored to a libvirt on the service's own host. Add one under Settings, or
          restore single disks.
        </Notice>
      )}
      <SelectField
        label="Platform"
        value={value.platform_id}
        placeholder={platforms.isPending ? "Loading…" : "Choose one"}
        options={(platforms.data?.items ?? []).map((one) => ({
          value: one.id,
          label: one.can_restore ? one.name : `${one.name} (cannot take VMs)`,
          disabled: !one.can_restore,
        }))}
        onChange={(platform_id) => onChange({ platform_id })}
      />
      <ChoiceField
        label="As"
        value={value.mode}
        onChange={(mode) => onChange({ mode })}
        options={[
          { value: "new", label: "A new VM", hint: "The old one, if it is there, stays as it is" },
          {
            value: "overwrite",
            label: "The old VM",
            hint: "Its disks are replaced: what they hold now is lost",
          },
        ]}
      />
      {value.mode === "new" ? (
        <>
          <TextField
            label="Name"
            value={value.name}
            onChange={(name) => onChange({ name })}
            maxLength={200}
            autoComplete="off"
          />
          <ChoiceField
            label="Identity"
            value={value.keep_identity ? "keep" : "new"}
            onChange={(identity) => onChange({ keep_identity: identity === "keep" })}
            options={[
              {
                value: "new",
                label: "A new identity",
                hint: "Another UUID and other MAC addresses: may run beside the old VM",
              },
              {
                value: "keep",
                label: "The old identity",
                hint: "The same UUID and MAC addresses: only when the old VM is gone",
              },
            ]}
          />
        </>
      ) : (
        <TextField
          label={`Type ${job.vm_name} to confirm`}
          value={value.confirm}
          onChange={(confirm) => onChange({ confirm })}
          autoComplete="off"
        />
      )}
      <div className="grid gap-3 sm:grid-cols-2">
        <CheckField
          label="Leave its network disconnected"
          hint="Look at it first, connect it then"
          checked={value.isolated}
          onChange={(isolated) => onChange({ isolated })}
        />
        <CheckField
          label="Start it afterwards"
          checked={value.start}
          onChange={(start) => onChange({ start })}
        />
      </div>
    </>
  );
}

/** Which disk, as what, to where. */
export function DiskTarget({
  disks,
  value,
  error,
  onChange,
}: {
  disks: string[];
  value: DiskChoice;
  error: string | null;
  onChange: (changes: Partial<DiskChoice>) => void;
}) {
  return (
    <>
      <SelectField
        label="Disk"
        value={value.disk}
        placeholder="Choose one"
        options={disks.map((key) => ({ value: key, label: key }))}
        onChange={(disk) => onChange({ disk, output: "" })}
      />
      <SelectField
        label="Format"
        value={value.format}
        options={[
          { value: "qcow2", label: "qcow2: for QEMU and libvirt, as large as its content" },
          { value: "raw", label: "raw: plain blocks, for everything" },
          { value: "vmdk", label: "vmdk: for VMware" },
        ]}
        onChange={(format) => onChange({ format: format as DiskChoice["format"], output: "" })}
      />
      <TextField
        label="Image file on the service's host"
        value={value.output}
        onChange={(output) => onChange({ output })}
        mono
        autoComplete="off"
        error={error}
        hint="Below /var/lib/holdfast/restores or /var/lib/libvirt/images; it must not exist yet"
      />
    </>
  );
}

"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, take } from "@/api-client";
import { ChoiceField, SelectField, TextField } from "@/ui/field";
import { bytes, plural } from "@/ui/format";
import { Notice } from "@/ui/states";
import { type DialogProps, MaintenanceModal } from "./maintenance-modal";
import { inRepository, repositoriesQuery } from "./queries";

export function CheckModal({ repository, onClose }: DialogProps) {
  const [how, setHow] = useState<"structure" | "data">("structure");
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Check"
      submitLabel="Check"
      start={() =>
        take(
          api.POST("/api/v1/repositories/{repository_id}/check", {
            ...inRepository(repository.id),
            body: { read_data: how === "data" },
          }),
        )
      }
    >
      <ChoiceField
        label="How deep"
        value={how}
        onChange={setHow}
        options={[
          {
            value: "structure",
            label: "Structure",
            hint: "Is everything there that restore points need? Quick: reads the records, not the data.",
          },
          {
            value: "data",
            label: "Structure and data",
            hint: `Also reads and hashes every stored byte${repository.used_bytes ? `: ${bytes(repository.used_bytes)}` : ""}.`,
          },
        ]}
      />
      <p className="text-sm text-ink-3">Changes nothing. Backups go on meanwhile.</p>
    </MaintenanceModal>
  );
}

const LONGEST_DAYS = 3650;

export function VerifyModal({ repository, onClose }: DialogProps) {
  const [what, setWhat] = useState<"all" | "sample" | "old">("all");
  const [percent, setPercent] = useState("10");
  const [days, setDays] = useState("30");
  const wrongPercent =
    what === "sample" && !(Number(percent) > 0 && Number(percent) <= 100)
      ? "A number above 0, up to 100"
      : null;
  const wrongDays =
    what === "old" && !(/^\d{1,4}$/.test(days.trim()) && Number(days) <= LONGEST_DAYS)
      ? `A whole number up to ${LONGEST_DAYS}`
      : null;
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Verify"
      submitLabel="Verify"
      disabledReason={wrongPercent || wrongDays ? "The number is not right" : null}
      start={() =>
        take(
          api.POST("/api/v1/repositories/{repository_id}/verify", {
            ...inRepository(repository.id),
            body:
              what === "sample"
                ? { sample_percent: Number(percent) }
                : what === "old"
                  ? { not_verified_for_days: Number(days) }
                  : {},
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        Reads what is stored, opens it and proves every byte against its checksum.
      </p>
      <ChoiceField
        label="How much"
        value={what}
        onChange={setWhat}
        options={[
          {
            value: "all",
            label: "Everything",
            hint: repository.used_bytes ? `Reads ${bytes(repository.used_bytes)}` : "All data",
          },
          { value: "sample", label: "A sample", hint: "A part, chosen at random" },
          { value: "old", label: "Not verified lately", hint: "What no verify has read for days" },
        ]}
      />
      {what === "sample" && (
        <TextField
          label="Percent of the stored data"
          value={percent}
          onChange={setPercent}
          inputMode="numeric"
          error={wrongPercent}
        />
      )}
      {what === "old" && (
        <TextField
          label="Days since it was verified"
          value={days}
          onChange={setDays}
          inputMode="numeric"
          error={wrongDays}
          hint="0 reads everything"
        />
      )}
    </MaintenanceModal>
  );
}

export function CompactModal({ repository, onClose }: DialogProps) {
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Compact"
      submitLabel="Compact"
      start={() =>
        take(api.POST("/api/v1/repositories/{repository_id}/compact", inRepository(repository.id)))
      }
    >
      <p className="text-sm text-ink-2">
        Gives back the space of deleted restore points: packs (the files that hold the data) which
        no point needs are deleted, and packs that are mostly empty are rewritten. What is found
        unneeded now goes with a compact at least a day later, so that restores which read it can
        finish.
      </p>
      <p className="text-sm text-ink-3">Backups and restores go on meanwhile.</p>
    </MaintenanceModal>
  );
}

export function CopyModal({ repository, onClose }: DialogProps) {
  const others = useOthers(repository.id);
  const [target, setTarget] = useState("");
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Copy to another repository"
      submitLabel="Copy"
      disabledReason={
        others?.length === 0
          ? "There is no other repository"
          : target
            ? null
            : "Choose a repository first"
      }
      start={() =>
        take(
          api.POST("/api/v1/repositories/{repository_id}/copy", {
            ...inRepository(repository.id),
            body: { to_repository_id: target },
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        Copies all {plural(repository.backup_count, "restore point")}, encrypted with the keys of
        the other repository. Only what is missing there is sent, so a second copy is quick.
      </p>
      {others?.length === 0 ? (
        <Notice tone="info" title="There is no other repository">
          Add one first: a folder on another disk, or a bucket.
        </Notice>
      ) : (
        <SelectField
          label="Copy to"
          value={target}
          onChange={setTarget}
          placeholder="Choose a repository"
          options={optionsOf(others)}
        />
      )}
    </MaintenanceModal>
  );
}

export function RepairModal({ repository, onClose }: DialogProps) {
  const others = useOthers(repository.id);
  const [source, setSource] = useState("");
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Repair"
      submitLabel="Repair"
      start={() =>
        take(
          api.POST("/api/v1/repositories/{repository_id}/repair", {
            ...inRepository(repository.id),
            body: source ? { from_repository_id: source } : {},
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        Saves what can still be read of data that a check or verify found damaged, and puts right
        what keeps the repository or a restore point from being opened. What is lost here is taken
        from a copy of the same restore points in another repository. Nothing is deleted.
      </p>
      <SelectField
        label="Take what is lost from"
        value={source}
        onChange={setSource}
        options={[
          { value: "", label: "No other repository: only save what is here" },
          ...optionsOf(others),
        ]}
        hint="Verify first: only damage that is known is repaired."
      />
    </MaintenanceModal>
  );
}

/** The other repositories; undefined until they are known. */
function useOthers(id: string) {
  const all = useQuery(repositoriesQuery());
  return all.data?.repositories.filter((one) => one.id !== id);
}

function optionsOf(others: ReturnType<typeof useOthers>) {
  return (others ?? []).map((one) => ({
    value: one.id,
    label: one.state === "offline" ? `${one.name} (offline)` : one.name,
    disabled: one.state === "offline",
  }));
}

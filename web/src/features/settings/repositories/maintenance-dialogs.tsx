"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, take } from "@/api-client";
import { ChoiceField, SelectField, TextField } from "@/ui/field";
import { bytes, count } from "@/ui/format";
import { Notice } from "@/ui/states";
import { type DialogProps, MaintenanceModal } from "./maintenance-modal";
import { repositoriesQuery } from "./queries";

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
            params: { path: { repository_id: repository.id } },
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
            hint: "Is everything there that restore points need? Quick: reads records, not data.",
          },
          {
            value: "data",
            label: "Structure and data",
            hint: `Also reads and hashes every stored byte${repository.used_bytes ? `: ${bytes(repository.used_bytes)}` : ""}.`,
          },
        ]}
      />
      <p className="text-sm text-ink-3">Nothing is changed, and backups go on meanwhile.</p>
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
            params: { path: { repository_id: repository.id } },
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
            hint: repository.used_bytes ? `${bytes(repository.used_bytes)} are read` : "All data",
          },
          { value: "sample", label: "A sample", hint: "Some of the packs, chosen by chance" },
          { value: "old", label: "Not proven lately", hint: "What no run has read for some days" },
        ]}
      />
      {what === "sample" && (
        <TextField
          label="Percent of the packs"
          value={percent}
          onChange={setPercent}
          inputMode="numeric"
          error={wrongPercent}
        />
      )}
      {what === "old" && (
        <TextField
          label="Not verified for days"
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
        take(
          api.POST("/api/v1/repositories/{repository_id}/compact", {
            params: { path: { repository_id: repository.id } },
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        Gives back the space of deleted restore points: packs that no point needs are deleted, and
        packs that are mostly empty are written anew. A pack that is found unneeded now is deleted
        by a compact at least a day later, so that whoever reads it can end.
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
        others?.length === 0 ? "There is no other repository" : target ? null : "Say where to"
      }
      start={() =>
        take(
          api.POST("/api/v1/repositories/{repository_id}/copy", {
            params: { path: { repository_id: repository.id } },
            body: { to_repository_id: target },
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        All {count(repository.backup_count)} restore points are copied, under the keys of the other
        repository. Only what is missing there is moved, so a second copy is quick.
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
            params: { path: { repository_id: repository.id } },
            body: source ? { from_repository_id: source } : {},
          }),
        )
      }
    >
      <p className="text-sm text-ink-2">
        Saves what can still be read of packs that a check or verify found damaged, and puts right
        what keeps the repository or a restore point from being opened. With a copy of the same
        restore points in another repository, what is lost here is taken from there. Nothing is
        dropped.
      </p>
      <SelectField
        label="Take what is lost from"
        value={source}
        onChange={setSource}
        options={[{ value: "", label: "Nowhere: only save what is here" }, ...optionsOf(others)]}
        hint="Verify first: repair works on the damage that is known."
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

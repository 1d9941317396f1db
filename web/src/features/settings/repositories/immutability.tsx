"use client";

import { useState } from "react";
import { api, type Schemas, take } from "@/api-client";
import { CheckField, ChoiceField, TextField } from "@/ui/field";
import { Notice } from "@/ui/states";
import { SaveModal } from "../save-modal";
import { useSave } from "../use-save";
import { inRepository } from "./queries";

const LONGEST_DAYS = 3650;

export type LockMode = Schemas["ImmutabilityBody"]["mode"];

export interface Rule {
  on: boolean;
  days: string;
  mode: NonNullable<LockMode>;
}

/** Days of a rule; null when they are none. */
export function daysOf(rule: Rule): number | null {
  if (!rule.on) return 0;
  const days = /^\d{1,4}$/.test(rule.days.trim()) ? Number(rule.days) : 0;
  return days >= 1 && days <= LONGEST_DAYS ? days : null;
}

/** For how long nobody shall be able to delete restore points, whatever credentials they have. */
export function RuleFields({
  rule,
  onChange,
  bucket,
  error,
}: {
  rule: Rule;
  onChange: (rule: Rule) => void;
  bucket: boolean;
  error?: string | null;
}) {
  return (
    <>
      <CheckField
        label="Immutable"
        hint={
          bucket
            ? "Nobody can delete a restore point for some days, whatever credentials they have. The bucket must have Object Lock."
            : "The immutable attribute of the file system keeps out everybody but root. Object Lock of a bucket keeps out everybody."
        }
        checked={rule.on}
        onChange={(on) => onChange({ ...rule, on })}
      />
      {rule.on && (
        <TextField
          label="Days"
          value={rule.days}
          onChange={(days) => onChange({ ...rule, days })}
          error={
            error ?? (daysOf(rule) === null ? `A whole number from 1 to ${LONGEST_DAYS}` : null)
          }
          hint="From each restore point on. A lock that is set never ends earlier."
        />
      )}
      {rule.on && bucket && (
        <ChoiceField
          label="Who it binds"
          value={rule.mode}
          onChange={(mode) => onChange({ ...rule, mode })}
          options={[
            { value: "compliance", label: "Everybody", hint: "Compliance: no right bypasses it" },
            {
              value: "governance",
              label: "All but some",
              hint: "Governance: who has the right to bypass it can delete",
            },
          ]}
        />
      )}
    </>
  );
}

export function ImmutabilityModal({
  repository,
  onClose,
}: {
  repository: Schemas["RepositoryInfo"];
  onClose: () => void;
}) {
  const [rule, setRule] = useState<Rule>({
    on: repository.immutable_days > 0,
    days: String(repository.immutable_days || 14),
    mode: repository.immutable_mode ?? "compliance",
  });
  const days = daysOf(rule);
  const save = useSave({
    save: () =>
      take(
        api.PUT("/api/v1/repositories/{repository_id}/immutability", {
          ...inRepository(repository.id),
          body: { days: days ?? 0, mode: rule.mode },
        }),
      ),
    keys: ["repositories", "runs", "monitoring"],
    done: days ? "It is immutable; what is there is being locked" : "New objects are not locked",
    onDone: onClose,
  });
  return (
    <SaveModal
      onClose={onClose}
      title="Immutability"
      description={repository.name}
      save={save}
      disabledReason={days === null ? "Say for how many days" : null}
    >
      <RuleFields rule={rule} onChange={setRule} bucket={repository.type === "s3"} />
      {repository.immutable_days > 0 && days !== null && days < repository.immutable_days && (
        <Notice tone="info">
          What is locked stays locked for as long as it was promised. Only new restore points get
          the shorter time.
        </Notice>
      )}
    </SaveModal>
  );
}

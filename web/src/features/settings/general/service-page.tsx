"use client";

import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Button } from "@/ui/button";
import { NumberRow } from "@/ui/number-row";
import { Notice } from "@/ui/states";
import { SettingsCard } from "../settings-card";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";

type Settings = Schemas["ServiceSettings"];
type NumberKey = Exclude<
  { [Key in keyof Settings]: Settings[Key] extends number ? Key : never }[keyof Settings],
  undefined
>;

const FIELDS: Array<[NumberKey, string, string, number, number]> = [
  [
    "protected_within_hours",
    "A VM is protected when its newest point is younger than",
    "hours",
    1,
    8760,
  ],
  ["platform_limit", "Runs at once on one platform", "runs", 1, 100],
  ["repository_limit", "Runs at once into one repository", "runs", 1, 100],
  ["retry_attempts", "Tries again after an error that may pass", "times", 0, 20],
  ["retry_delay_seconds", "First wait before trying again", "seconds", 1, 86_400],
  ["mount_limit", "Restore points opened for browsing at once", "mounts", 1, 200],
  ["mount_idle_minutes", "An opened restore point is closed after", "minutes without use", 1, 1440],
  ["log_keep_days", "The log is kept for", "days", 1, 3650],
];

export function ServicePage() {
  const denied = useDenied("system.manage");
  const settings = useQuery({
    queryKey: ["settings"],
    queryFn: () => take(api.GET("/api/v1/settings", {})),
    enabled: !denied,
  });
  return (
    <SettingsFrame title="Service" description="Limits and times. They count from the next run on.">
      <SettingsCard query={settings} denied={denied} lines={8}>
        {(data) => <ServiceForm settings={data} />}
      </SettingsCard>
    </SettingsFrame>
  );
}

function ServiceForm({ settings }: { settings: Settings }) {
  const [values, setValues] = useState<Record<string, string>>(
    Object.fromEntries(FIELDS.map(([key]) => [key, String(settings[key])])),
  );
  const problem = (key: NumberKey, low: number, high: number) => {
    const value = Number(values[key]);
    return values[key] !== "" && Number.isInteger(value) && value >= low && value <= high
      ? null
      : `A whole number from ${low} to ${high}`;
  };
  const wrong = FIELDS.some(([key, , , low, high]) => problem(key, low, high));
  const changed = FIELDS.filter(([key]) => values[key] !== String(settings[key]));
  const save = useSave({
    save: () =>
      take(
        api.PATCH("/api/v1/settings", {
          body: Object.fromEntries(changed.map(([key]) => [key, Number(values[key])])),
        }),
      ),
    keys: ["settings", "overview", "vms"],
    done: "The settings were saved",
  });
  return (
    <form
      className="flex flex-col gap-4"
      noValidate
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        if (!wrong) save.mutate(undefined);
      }}
    >
      <div className="-mt-2">
        {FIELDS.map(([key, label, unit, low, high]) => (
          <NumberRow
            key={key}
            label={label}
            unit={unit}
            value={values[key] ?? ""}
            onChange={(text) => setValues({ ...values, [key]: text.trim() })}
            error={problem(key, low, high) ?? fieldError(save.error, key)}
          />
        ))}
      </div>
      <div>
        <p className="text-sm font-medium">Folders where disks may be restored to</p>
        <ul className="mt-1 font-mono text-xs text-ink-2">
          {settings.restore_roots.map((root) => (
            <li key={root}>{root}</li>
          ))}
        </ul>
        <p className="mt-1 text-xs text-ink-3">Other places are refused.</p>
      </div>
      {save.error && <Notice tone="bad">{failureOf(save.error).detail}</Notice>}
      <div>
        <Button
          type="submit"
          variant="primary"
          busy={save.isPending}
          disabledReason={
            wrong ? "A value is not right" : changed.length === 0 ? "Nothing was changed" : null
          }
        >
          Save
        </Button>
      </div>
    </form>
  );
}

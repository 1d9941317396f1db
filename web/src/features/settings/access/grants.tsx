"use client";

import { HiX } from "react-icons/hi";
import type { Schemas } from "@/api-client";
import { Badge } from "@/ui/badge";
import { Button, IconButton } from "@/ui/button";
import { words } from "@/ui/format";

type Grant = Schemas["GrantBody"];

const ROLES: Array<[Grant["role"], string]> = [
  ["viewer", "Viewer"],
  ["operator", "Operator"],
  ["restore-operator", "Restore operator"],
  ["administrator", "Administrator"],
];

export function grantWords(grant: Schemas["GrantInfo"]): string {
  const scope = grant.scope_kind === "all" ? "" : ` for ${grant.scope_kind} ${grant.scope_value}`;
  return `${words(grant.role)}${scope}`;
}

export function GrantBadges({ grants }: { grants: Schemas["GrantInfo"][] }) {
  return (
    <span className="flex flex-wrap gap-1">
      {grants.length === 0 && <span className="text-ink-3">None</span>}
      {grants.map((grant) => (
        <Badge key={grantWords(grant)} tone={grant.role === "administrator" ? "run" : "idle"}>
          {grantWords(grant)}
        </Badge>
      ))}
    </span>
  );
}

/** Roles, each for everything or for the VMs with one tag or of one group. */
export function GrantsField({
  grants,
  onChange,
}: {
  grants: Grant[];
  onChange: (grants: Grant[]) => void;
}) {
  const change = (place: number, part: Partial<Grant>) =>
    onChange(grants.map((grant, index) => (index === place ? { ...grant, ...part } : grant)));
  const select =
    "h-9 rounded-md border border-line-strong bg-surface px-2.5 text-sm hover:border-ink-3";
  return (
    <fieldset className="min-w-0">
      <legend className="mb-1.5 text-sm font-medium">Roles</legend>
      <div className="flex flex-col gap-2">
        {grants.map((grant, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows are known by their place only
          <div key={place} className="flex flex-wrap items-center gap-2">
            <select
              aria-label="Role"
              className={`${select} flex-1`}
              value={grant.role}
              onChange={(event) => change(place, { role: event.target.value as Grant["role"] })}
            >
              {ROLES.map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
            <select
              aria-label="Scope"
              className={select}
              value={grant.scope_kind ?? "all"}
              onChange={(event) =>
                change(place, { scope_kind: event.target.value as "all", scope_value: "" })
              }
            >
              <option value="all">for everything</option>
              <option value="tag">for VMs with tag</option>
              <option value="group">for VMs of group</option>
            </select>
            {grant.scope_kind && grant.scope_kind !== "all" && (
              <input
                aria-label={grant.scope_kind === "tag" ? "Tag" : "Group"}
                className={`${select} w-32`}
                value={grant.scope_value}
                onChange={(event) => change(place, { scope_value: event.target.value.trim() })}
              />
            )}
            <IconButton
              icon={HiX}
              label="Remove this role"
              onClick={() => onChange(grants.filter((_, index) => index !== place))}
            />
          </div>
        ))}
        <div>
          <Button
            size="xs"
            onClick={() =>
              onChange([...grants, { role: "viewer", scope_kind: "all", scope_value: "" }])
            }
          >
            Add a role
          </Button>
        </div>
      </div>
    </fieldset>
  );
}

export function grantsProblem(grants: Grant[]): string | null {
  if (grants.length === 0) return "Give at least one role";
  return grants.some((grant) => grant.scope_kind !== "all" && !grant.scope_value)
    ? "Say which tag or group"
    : null;
}

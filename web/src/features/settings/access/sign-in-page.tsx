"use client";

import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { HiX } from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Button, IconButton } from "@/ui/button";
import { SecretField, SwitchField, TextField } from "@/ui/field";
import { Notice } from "@/ui/states";
import { SettingsCard } from "../settings-card";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";

type Settings = Schemas["OidcSettings"];
type RoleName = Settings["role_map"][string];

export function SignInPage() {
  const denied = useDenied("access.manage");
  const settings = useQuery({
    queryKey: ["oidc"],
    queryFn: () => take(api.GET("/api/v1/auth/oidc", {})),
    enabled: !denied,
  });
  return (
    <SettingsFrame
      title="Sign-in"
      description="Single sign-on with OpenID Connect, beside names and passwords."
    >
      <SettingsCard query={settings} denied={denied} lines={6}>
        {(data) => <OidcForm settings={data} />}
      </SettingsCard>
    </SettingsFrame>
  );
}

function OidcForm({ settings }: { settings: Settings }) {
  const [enabled, setEnabled] = useState(settings.enabled);
  const [name, setName] = useState(settings.name);
  const [issuer, setIssuer] = useState(settings.issuer);
  const [clientId, setClientId] = useState(settings.client_id);
  const [secret, setSecret] = useState("");
  const [claim, setClaim] = useState(settings.claim);
  const [roles, setRoles] = useState<Array<[string, RoleName]>>(Object.entries(settings.role_map));
  const [origin, setOrigin] = useState("");
  useEffect(() => setOrigin(window.location.origin), []);
  const save = useSave({
    save: () =>
      take(
        api.PUT("/api/v1/auth/oidc", {
          body: {
            enabled,
            name: name.trim(),
            issuer: issuer.trim(),
            client_id: clientId.trim(),
            client_secret: secret || null,
            claim: claim.trim(),
            role_map: Object.fromEntries(roles.filter(([value]) => value)),
          },
        }),
      ),
    keys: ["oidc", "sign-in-methods"],
    done: "The sign-in settings were saved",
  });
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        save.mutate(undefined);
      }}
    >
      <SwitchField label="Offer single sign-on" checked={enabled} onChange={setEnabled} />
      <TextField label="Name on the button" value={name} onChange={setName} />
      <TextField
        label="Issuer"
        value={issuer}
        onChange={setIssuer}
        mono
        placeholder="https://login.example.com/realms/main"
        error={fieldError(save.error, "issuer")}
      />
      <div className="grid gap-4 sm:grid-cols-2">
        <TextField
          label="Client id"
          value={clientId}
          onChange={setClientId}
          mono
          autoComplete="off"
        />
        <SecretField
          label="Client secret"
          value={secret}
          onChange={setSecret}
          hint={settings.has_secret ? "One is kept; a new issuer needs it again" : undefined}
          optional={settings.has_secret}
        />
      </div>
      <p className="text-xs text-ink-3">
        Redirect address to register:{" "}
        <code className="font-mono break-all text-ink-2">{origin}/api/v1/auth/oidc/callback</code>
      </p>
      <TextField label="Claim that gives the role" value={claim} onChange={setClaim} mono />
      <fieldset>
        <legend className="mb-1.5 text-sm font-medium">Value of the claim and its role</legend>
        <div className="flex flex-col gap-2">
          {roles.map(([value, role], place) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: rows are known by their place only
            <div key={place} className="flex items-center gap-2">
              <input
                aria-label="Value"
                value={value}
                onChange={(event) =>
                  setRoles(
                    roles.map((row, index) => (index === place ? [event.target.value, role] : row)),
                  )
                }
                className="h-9 min-w-0 flex-1 rounded-md border border-line-strong bg-surface px-3 text-sm"
              />
              <select
                aria-label="Role"
                value={role}
                onChange={(event) =>
                  setRoles(
                    roles.map((row, index) =>
                      index === place ? [value, event.target.value as RoleName] : row,
                    ),
                  )
                }
                className="h-9 rounded-md border border-line-strong bg-surface px-2.5 text-sm"
              >
                <option value="viewer">Viewer</option>
                <option value="operator">Operator</option>
                <option value="restore-operator">Restore operator</option>
                <option value="administrator">Administrator</option>
              </select>
              <IconButton
                icon={HiX}
                label="Remove this row"
                onClick={() => setRoles(roles.filter((_, index) => index !== place))}
              />
            </div>
          ))}
          <div>
            <Button size="xs" onClick={() => setRoles([...roles, ["", "viewer"]])}>
              Add a row
            </Button>
          </div>
          <p className="text-xs text-ink-3">Nobody without one of these values gets in.</p>
        </div>
      </fieldset>
      {save.error && <Notice tone="bad">{failureOf(save.error).detail}</Notice>}
      <div>
        <Button
          type="submit"
          variant="primary"
          busy={save.isPending}
          disabledReason={enabled && !issuer.trim() ? "Say who the issuer is" : null}
        >
          Save
        </Button>
      </div>
    </form>
  );
}

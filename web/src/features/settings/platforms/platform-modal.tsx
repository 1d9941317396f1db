"use client";

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { Button } from "@/ui/button";
import { ChoiceField, SecretField, SelectField, TextAreaField, TextField } from "@/ui/field";
import { plural } from "@/ui/format";
import { Notice } from "@/ui/states";
import { SaveModal } from "../save-modal";
import { useSave } from "../use-save";

type Platform = Schemas["PlatformInfo"];
type Body = Schemas["PlatformBody"];
type Address = Schemas["LibvirtAddress"];

/** A new platform, or another address for one that is there. */
export function PlatformModal({ platform, onClose }: { platform?: Platform; onClose: () => void }) {
  const [kind, setKind] = useState<Body["kind"]>(platform?.kind ?? "libvirt");
  const [name, setName] = useState(platform?.name ?? "");
  const [transport, setTransport] = useState<NonNullable<Address["transport"]>>(
    platform?.address?.transport ?? "local",
  );
  const [host, setHost] = useState(platform?.address?.host ?? "");
  const [port, setPort] = useState(platform?.address?.port ? String(platform.address.port) : "");
  const [user, setUser] = useState(platform?.address?.user ?? "");
  const [path, setPath] = useState(platform?.path ?? "");
  const [secret, setSecret] = useState("");
  const body: Body = {
    kind,
    name: name.trim(),
    address:
      kind === "libvirt"
        ? {
            transport,
            host: transport === "local" ? "" : host.trim(),
            port: port ? Number(port) : null,
            user: user.trim(),
            instance: "system",
          }
        : null,
    path: kind === "images" ? path.trim() : null,
    secret: secret || null,
  };
  const missing = !body.name
    ? "Give it a name"
    : kind === "images" && !body.path
      ? "Say where the images are"
      : kind === "libvirt" && transport !== "local" && !host.trim()
        ? "Say which host"
        : null;
  const test = useMutation({
    mutationFn: () => take(api.POST("/api/v1/platforms/test", { body })),
  });
  const save = useSave({
    save: () =>
      platform
        ? take(
            api.PATCH("/api/v1/platforms/{platform_id}", {
              params: { path: { platform_id: platform.id } },
              body: {
                name: body.name,
                address: body.address ?? null,
                path: body.path ?? null,
                secret: body.secret ?? null,
              },
            }),
          )
        : take(api.POST("/api/v1/platforms", { body })),
    keys: ["platforms", "overview"],
    done: platform ? "The platform was changed" : "The platform was added",
    onDone: onClose,
  });
  return (
    <SaveModal
      onClose={onClose}
      size="lg"
      title={platform ? "Edit platform" : "Add platform"}
      submitLabel={platform ? "Save" : "Add platform"}
      save={save}
      disabledReason={missing}
      extra={
        <Button busy={test.isPending} disabledReason={missing} onClick={() => test.mutate()}>
          Test
        </Button>
      }
    >
      {!platform && (
        <ChoiceField
          label="Kind"
          value={kind}
          onChange={setKind}
          options={[
            {
              value: "libvirt",
              label: "KVM with libvirt",
              hint: "Running VMs, incrementals by changed blocks",
            },
            { value: "images", label: "Disk images", hint: "A folder of qcow2 or raw files" },
          ]}
        />
      )}
      <TextField
        label="Name"
        value={name}
        onChange={setName}
        autoFocus
        error={fieldError(save.error, "name")}
        placeholder="kvm-host-01"
      />
      {kind === "images" ? (
        <TextField
          label="Folder"
          value={path}
          onChange={setPath}
          mono
          placeholder="/var/lib/libvirt/images"
          hint="On the service's host"
          error={fieldError(save.error, "path")}
        />
      ) : (
        <>
          <SelectField
            label="Connection"
            value={transport}
            onChange={(value) => setTransport(value as typeof transport)}
            options={[
              { value: "local", label: "This host" },
              { value: "ssh", label: "Over SSH" },
              { value: "tls", label: "Over TLS" },
            ]}
            hint={
              transport === "local"
                ? "libvirtd on the service's host"
                : "Remote connections give inventory only; backups need the service on the host"
            }
          />
          {transport !== "local" && (
            <div className="grid gap-4 sm:grid-cols-[minmax(0,1fr)_7rem]">
              <TextField
                label="Host"
                value={host}
                onChange={setHost}
                error={fieldError(save.error, "host")}
              />
              <TextField
                label="Port"
                value={port}
                onChange={setPort}
                inputMode="numeric"
                optional
              />
            </div>
          )}
          {transport === "ssh" && (
            <>
              <TextField label="User" value={user} onChange={setUser} autoComplete="off" optional />
              <TextAreaField
                label="Private key"
                value={secret}
                onChange={setSecret}
                rows={4}
                mono
                optional
                hint={
                  platform?.has_secret
                    ? "One is kept. Fill this in only to replace it; a new host needs it again."
                    : "Sealed at rest, never shown again"
                }
              />
            </>
          )}
          {transport === "tls" && (
            <SecretField
              label="Password"
              value={secret}
              onChange={setSecret}
              optional
              hint={
                platform?.has_secret ? "One is kept. Fill this in only to replace it." : undefined
              }
            />
          )}
        </>
      )}
      {test.data && (
        <Notice
          tone={test.data.ok ? "ok" : "bad"}
          title={test.data.ok ? "The connection works" : test.data.message}
        >
          {test.data.ok
            ? [
                test.data.version,
                test.data.vm_count === null || test.data.vm_count === undefined
                  ? ""
                  : plural(test.data.vm_count, "virtual machine"),
              ]
                .filter(Boolean)
                .join(", ")
            : test.data.hint}
        </Notice>
      )}
      {test.error && <Notice tone="bad">{failureOf(test.error).detail}</Notice>}
    </SaveModal>
  );
}

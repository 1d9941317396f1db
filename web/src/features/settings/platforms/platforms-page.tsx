"use client";

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import {
  HiOutlinePencil,
  HiOutlinePlus,
  HiOutlineSearch,
  HiOutlineStatusOnline,
  HiOutlineTrash,
} from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { ChoiceField, SecretField, SelectField, TextAreaField, TextField } from "@/ui/field";
import { plural, words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { ConfirmModal, FormModal } from "@/ui/modal";
import { Notice } from "@/ui/states";
import { DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { useUrlState } from "@/ui/url-state";
import { Ago, Truncated } from "@/ui/values";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { platformsQuery } from "./queries";

type Platform = Schemas["PlatformInfo"];
type Body = Schemas["PlatformBody"];
type Address = Schemas["LibvirtAddress"];

export function PlatformsPage() {
  const platforms = useQuery(platformsQuery());
  const { get, set } = useUrlState();
  const denied = useDenied("platform.manage");
  const toast = useToast();
  const [editing, setEditing] = useState<Platform | null>(null);
  const [removing, setRemoving] = useState<Platform | null>(null);
  const test = useMutation({
    mutationFn: (one: Platform) =>
      take(
        api.POST("/api/v1/platforms/{platform_id}/test", {
          params: { path: { platform_id: one.id } },
        }),
      ),
    onSuccess: (result, one) =>
      toast({
        tone: result.ok ? "ok" : "bad",
        title: result.ok ? `${one.name} answers` : `${one.name} does not work`,
        text: [result.message, result.hint, result.version].filter(Boolean).join(". "),
      }),
    onError: (error) =>
      toast({ tone: "bad", title: "It could not be tested", text: failureOf(error).detail }),
  });
  const remove = useSave({
    save: (id: string) =>
      take(
        api.DELETE("/api/v1/platforms/{platform_id}", { params: { path: { platform_id: id } } }),
      ),
    keys: ["platforms", "vms", "overview"],
    done: "The platform was removed",
    onDone: () => setRemoving(null),
  });
  return (
    <SettingsFrame
      title="Platforms"
      description="Where virtual machines run: libvirt hosts, and folders of disk images."
      actions={
        <Button
          variant="primary"
          icon={HiOutlinePlus}
          disabledReason={denied}
          onClick={() => set({ add: "1" })}
        >
          Add platform
        </Button>
      }
    >
      <Card flush>
        <DataTable
          what="platforms"
          rows={platforms.data?.items}
          rowKey={(one) => one.id}
          failure={platforms.error ? failureOf(platforms.error) : null}
          onRetry={() => platforms.refetch()}
          skeletonRows={3}
          tall
          empty={{
            title: "No platforms yet",
            text: "Add the host whose virtual machines shall be protected.",
            action: (
              <Button variant="primary" disabledReason={denied} onClick={() => set({ add: "1" })}>
                Add platform
              </Button>
            ),
          }}
          columns={[
            {
              key: "name",
              title: "Name",
              cell: (one) => (
                <div className="min-w-0">
                  <Truncated className="font-medium">{one.name}</Truncated>
                  <Truncated className="font-mono text-2xs text-ink-3">
                    {one.path ?? one.uri}
                  </Truncated>
                </div>
              ),
            },
            {
              key: "kind",
              title: "Kind",
              width: "w-28",
              from: "md",
              cell: (one) => (one.kind === "libvirt" ? "libvirt" : "Disk images"),
            },
            {
              key: "state",
              title: "State",
              width: "w-32",
              cell: (one) => (
                <span title={one.state_message}>
                  <Badge
                    tone={
                      one.state === "connected"
                        ? "ok"
                        : one.state === "unreachable"
                          ? "bad"
                          : "idle"
                    }
                  >
                    {words(one.state)}
                  </Badge>
                </span>
              ),
            },
            {
              key: "seen",
              title: "Checked",
              width: "w-28",
              from: "lg",
              cell: (one) => <Ago time={one.state_at} />,
            },
            {
              key: "vms",
              title: "VMs",
              width: "w-20",
              from: "sm",
              align: "right",
              cell: (one) => <span className="tabular-nums">{one.vm_count}</span>,
            },
            {
              key: "can",
              title: "Can",
              width: "w-40",
              from: "lg",
              cell: (one) => (
                <span className="text-ink-2">
                  {[
                    one.can_capture ? "back up" : "inventory only",
                    one.can_restore ? "restore" : "",
                  ]
                    .filter(Boolean)
                    .join(", ")}
                </span>
              ),
            },
            {
              key: "actions",
              title: "Actions",
              hideTitle: true,
              width: "w-16",
              align: "right",
              cell: (one) => (
                <Menu
                  label={`Actions for ${one.name}`}
                  items={[
                    {
                      label: "Test the connection",
                      icon: HiOutlineStatusOnline,
                      onSelect: () => test.mutate(one),
                    },
                    {
                      label: "Discover",
                      icon: HiOutlineSearch,
                      href: `/discovery?platform=${encodeURIComponent(one.id)}`,
                    },
                    {
                      label: "Edit…",
                      icon: HiOutlinePencil,
                      onSelect: () => setEditing(one),
                      disabledReason: denied,
                    },
                    {
                      label: "Remove…",
                      icon: HiOutlineTrash,
                      danger: true,
                      onSelect: () => setRemoving(one),
                      disabledReason: denied,
                    },
                  ]}
                />
              ),
            },
          ]}
        />
      </Card>
      {platforms.data?.items
        .filter((one) => one.state === "unreachable")
        .map((one) => (
          <Notice key={one.id} tone="bad" title={`${one.name} is unreachable`}>
            {one.state_message}
          </Notice>
        ))}
      {get("add") && !denied && <PlatformModal onClose={() => set({ add: null })} />}
      {editing && <PlatformModal platform={editing} onClose={() => setEditing(null)} />}
      <ConfirmModal
        open={removing !== null}
        onClose={() => setRemoving(null)}
        title="Remove platform"
        confirmLabel="Remove"
        danger
        busy={remove.isPending}
        failure={remove.error ? failureOf(remove.error) : null}
        onConfirm={() => removing && remove.mutate(removing.id)}
      >
        {removing && (
          <p>
            {plural(removing.vm_count, "virtual machine")} of{" "}
            <strong className="font-medium text-ink">{removing.name}</strong> will no longer be
            backed up. Their backups stay and can be restored.
          </p>
        )}
      </ConfirmModal>
    </SettingsFrame>
  );
}

function PlatformModal({ platform, onClose }: { platform?: Platform; onClose: () => void }) {
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
    <FormModal
      open
      onClose={onClose}
      size="lg"
      title={platform ? "Edit platform" : "Add platform"}
      submitLabel={platform ? "Save" : "Add platform"}
      onSubmit={() => save.mutate(undefined)}
      busy={save.isPending}
      failure={save.error ? failureOf(save.error) : null}
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
    </FormModal>
  );
}

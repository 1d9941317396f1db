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
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { plural, words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { Notice } from "@/ui/states";
import { ACTIONS, DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { useUrlState } from "@/ui/url-state";
import { Ago, Truncated } from "@/ui/values";
import { RemoveModal } from "../save-modal";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { PlatformModal } from "./platform-modal";
import { platformsQuery } from "./queries";

type Platform = Schemas["PlatformInfo"];

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
              ...ACTIONS,
              width: "w-16",
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
      {removing && (
        <RemoveModal
          onClose={() => setRemoving(null)}
          title="Remove platform"
          confirmLabel="Remove"
          remove={remove}
          what={removing.id}
        >
          <p>
            {plural(removing.vm_count, "virtual machine")} of{" "}
            <strong className="font-medium text-ink">{removing.name}</strong> will no longer be
            backed up. Their backups stay and can be restored.
          </p>
        </RemoveModal>
      )}
    </SettingsFrame>
  );
}

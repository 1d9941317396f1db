"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { HiOutlineFolderOpen, HiOutlineXCircle } from "react-icons/hi";
import { api, failureOf, take } from "@/api-client";
import { Badge, type Tone } from "@/ui/badge";
import { RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { plural, words } from "@/ui/format";
import { ACTIONS, DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { Ago, Moment } from "@/ui/values";
import { mountsQuery, type RestoreMount } from "./queries";

const TONES: Record<RestoreMount["status"], Tone> = {
  mounting: "run",
  mounted: "ok",
  unmounting: "idle",
  failed: "bad",
};

export function useUnmount() {
  const client = useQueryClient();
  const toast = useToast();
  return useMutation({
    mutationFn: (mount: Pick<RestoreMount, "mount_id" | "backup_id">) =>
      take(
        api.DELETE("/api/v1/restore/{mount_id}", {
          params: { path: { mount_id: mount.mount_id } },
        }),
      ),
    onSuccess: () => toast({ tone: "ok", title: "The restore point was closed" }),
    onError: (error) =>
      toast({ tone: "bad", title: "It was not closed", text: failureOf(error).detail }),
    onSettled: (_data, _error, mount) => {
      client.removeQueries({ queryKey: ["opened-mount", mount.backup_id] });
      client.removeQueries({ queryKey: ["files", mount.mount_id] });
      void client.invalidateQueries({ queryKey: ["mounts"] });
    },
  });
}

/** The restore points that are open now: one's own, or of all for an administrator. */
export function MountsList() {
  const mounts = useQuery({ ...mountsQuery(), refetchInterval: 30_000 });
  const router = useRouter();
  const unmount = useUnmount();
  const browse = (mount: RestoreMount) =>
    router.push(
      `/backups/restore?backup=${encodeURIComponent(mount.backup_id)}${mount.vm_id ? `&vm=${encodeURIComponent(mount.vm_id)}` : ""}`,
    );
  return (
    <Card
      flush
      title="Open restore points"
      description={
        mounts.data
          ? `${plural(mounts.data.total, "mount")}; at most ${mounts.data.limit} at a time. One that is not used closes by itself.`
          : undefined
      }
    >
      <DataTable
        what="open restore points"
        rows={mounts.data?.mounts}
        rowKey={(mount) => mount.mount_id}
        skeletonRows={2}
        failure={mounts.error ? failureOf(mounts.error) : null}
        onRetry={() => mounts.refetch()}
        onOpen={browse}
        empty={{
          title: "None is open",
          text: "Choose a restore point to open it. It stays open while it is used.",
        }}
        columns={[
          {
            key: "vm",
            title: "VM",
            cell: (mount) => (
              <span className="block truncate font-medium" title={mount.vm_name}>
                {mount.vm_name}
              </span>
            ),
          },
          {
            key: "captured",
            title: "Captured",
            width: "w-32",
            cell: (mount) => <Moment time={mount.captured_at} never="–" />,
          },
          {
            key: "volumes",
            title: "Volumes",
            from: "lg",
            cell: (mount) => {
              const names = mount.volumes.map((volume) => volume.label || volume.id).join(", ");
              return (
                <span className="block truncate text-ink-2" title={names}>
                  {names || "–"}
                </span>
              );
            },
          },
          {
            key: "status",
            title: "Status",
            width: "w-28",
            from: "md",
            cell: (mount) => (
              <Badge tone={TONES[mount.status]} title={mount.status_message || undefined}>
                {words(mount.status)}
              </Badge>
            ),
          },
          {
            key: "expires",
            title: "Closes",
            width: "w-28",
            from: "sm",
            cell: (mount) => <Ago time={mount.expires_at} />,
          },
          {
            ...ACTIONS,
            width: "w-26 @4xl:w-48",
            cell: (mount) => (
              <span className="inline-flex gap-0.5">
                <RowAction
                  icon={HiOutlineFolderOpen}
                  label="Browse"
                  of={mount.vm_name}
                  onClick={() => browse(mount)}
                />
                <RowAction
                  icon={HiOutlineXCircle}
                  label="Close"
                  of={mount.vm_name}
                  onClick={() => unmount.mutate(mount)}
                />
              </span>
            ),
          },
        ]}
      />
    </Card>
  );
}

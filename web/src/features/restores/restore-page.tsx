"use client";

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { HiOutlineReply, HiOutlineXCircle } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { backupQuery } from "@/features/backups/queries";
import { useDenied } from "@/features/session/session";
import { timelineQuery } from "@/features/vms/queries";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect } from "@/ui/field";
import { shortTime } from "@/ui/format";
import { Page, PageHeader } from "@/ui/page";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { useUrlState } from "@/ui/url-state";
import { Ago, Moment } from "@/ui/values";
import { ChoosePoint } from "./choose-point";
import { FileBrowser } from "./file-browser";
import { MountsList, useUnmount } from "./mounts-list";
import { openedMountQuery, type RestoreMount } from "./queries";

const CRUMBS = [{ label: "Backups", href: "/backups" }, { label: "Browse files" }];

/** From a VM to a restore point to its files. The address says which: `vm`, `backup`, `path`. */
export function RestorePage() {
  const { get } = useUrlState();
  const denied = useDenied("files.read");
  const backup = get("backup");
  if (denied)
    return (
      <Page>
        <PageHeader title="Browse files" crumbs={CRUMBS} />
        <Card>
          <EmptyState title="Not for your role">{denied}</EmptyState>
        </Card>
      </Page>
    );
  return backup ? <Opened key={backup} backupId={backup} /> : <Choosing />;
}

function Choosing() {
  return (
    <Page>
      <PageHeader
        title="Browse files"
        crumbs={CRUMBS}
        description="Open a restore point and take single files or folders out of it"
      />
      <ChoosePoint />
      <MountsList />
    </Page>
  );
}

function Opened({ backupId }: { backupId: string }) {
  const mount = useQuery(openedMountQuery(backupId));
  const client = useQueryClient();
  const { set } = useUrlState();
  const reopen = () => client.resetQueries({ queryKey: ["opened-mount", backupId] });
  const other = () => set({ backup: null, path: null, path_b64: null, find: null }, "push");
  return (
    <div className="mx-auto flex h-full w-full max-w-[1440px] flex-col gap-4 px-4 pt-5 pb-4 sm:px-6">
      <Head mount={mount.data} backupId={backupId} onClosed={other} />
      <section className="flex min-h-[26rem] flex-1 flex-col overflow-hidden rounded-lg border border-line bg-surface shadow-card">
        {mount.error ? (
          <>
            <ErrorState failure={failureOf(mount.error)} onRetry={() => mount.refetch()} />
            <div className="pb-8 text-center">
              <Button variant="ghost" onClick={other}>
                Choose another restore point
              </Button>
            </div>
          </>
        ) : mount.data ? (
          <FileBrowser mount={mount.data} onReopen={reopen} />
        ) : (
          <div className="p-5">
            <p className="mb-4 text-sm text-ink-2">
              Opening the restore point: its disks are read in a sandbox to find their file systems.
            </p>
            <SkeletonLines lines={8} label="Opening the restore point" />
          </div>
        )}
      </section>
    </div>
  );
}

function Head({
  mount,
  backupId,
  onClosed,
}: {
  mount: RestoreMount | undefined;
  backupId: string;
  onClosed: () => void;
}) {
  const backup = useQuery(backupQuery(backupId));
  const vmId = mount?.vm_id ?? backup.data?.vm_id ?? "";
  const timeline = useQuery({ ...timelineQuery(vmId), enabled: Boolean(vmId) });
  const { set } = useUrlState();
  const router = useRouter();
  const unmount = useUnmount();
  const mayRestore = useDenied("restore.run");
  const points = timeline.data?.points ?? [];
  return (
    <PageHeader
      title={mount?.vm_name || backup.data?.vm_name || "Browse files"}
      crumbs={[
        { label: "Backups", href: "/backups" },
        { label: "Browse files", href: "/backups/restore" },
        { label: mount?.vm_name || "…" },
      ]}
      badge={
        mount?.status === "mounted" ? (
          <Badge tone="ok" title={mount.status_message || undefined}>
            Open
          </Badge>
        ) : null
      }
      description={
        mount && (
          <>
            Captured <Moment time={mount.captured_at} never="–" />. Closes by itself{" "}
            <Ago time={mount.expires_at} /> if it is not used.
          </>
        )
      }
      actions={
        <>
          {points.length > 1 && (
            <PointSelect
              points={points}
              current={backupId}
              onChange={(id) => set({ backup: id }, "push")}
            />
          )}
          <Button
            icon={HiOutlineReply}
            onClick={() => router.push(`/backups/${encodeURIComponent(backupId)}?restore=vm`)}
            disabledReason={mayRestore}
          >
            Restore
          </Button>
          <Button
            icon={HiOutlineXCircle}
            busy={unmount.isPending}
            disabledReason={mount ? null : "it is not open"}
            onClick={() => mount && unmount.mutate(mount, { onSuccess: onClosed })}
          >
            Close
          </Button>
        </>
      }
    />
  );
}

/** The same folder at another time. */
function PointSelect({
  points,
  current,
  onChange,
}: {
  points: Array<{ backup_id: string; captured_at: string }>;
  current: string;
  onChange: (id: string) => void;
}) {
  return (
    <FilterSelect
      label="Restore point"
      value={current}
      onChange={onChange}
      required
      options={points.slice(0, 200).map((point) => ({
        value: point.backup_id,
        label: shortTime(point.captured_at),
      }))}
    />
  );
}

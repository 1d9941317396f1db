"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlineLockClosed } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { isFinal, useProgress } from "@/features/live/progress";
import { RestoreWizard } from "@/features/restores/restore-wizard";
import { runQuery } from "@/features/runs/queries";
import { RunLog } from "@/features/runs/run-log";
import { RunFailure, RunPanel } from "@/features/runs/run-panel";
import { Card } from "@/ui/card";
import { Page, PageHeader } from "@/ui/page";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { Tabs } from "@/ui/tabs";
import { usePathId, useUrlState } from "@/ui/url-state";
import { BackupHead, CRUMB } from "./backup-head";
import { ChainView } from "./chain-view";
import { DisksCard, LiveDisksCard } from "./disks-card";
import { PointCards } from "./point-cards";
import { type BackupJob, backupQuery } from "./queries";

export function BackupPage() {
  const id = usePathId();
  const job = useQuery({
    ...backupQuery(id ?? ""),
    enabled: Boolean(id),
    refetchInterval: ({ state }) => state.data && askAgainMs(state.data),
  });
  if (job.error && !job.data) {
    return (
      <Page>
        <PageHeader title="Backup" crumbs={[CRUMB, { label: "…" }]} />
        <Card>
          <ErrorState failure={failureOf(job.error)} onRetry={() => job.refetch()} />
        </Card>
      </Page>
    );
  }
  if (!job.data) {
    return (
      <Page>
        <PageHeader title="…" crumbs={[CRUMB, { label: "…" }]} />
        <Card>
          <SkeletonLines lines={8} label="Loading the backup" />
        </Card>
      </Page>
    );
  }
  return <Loaded job={job.data} />;
}

/** Events tell of what changes; not of a plan that was just made, nor of a restore point that came on
 * record after its run. */
function askAgainMs(job: BackupJob): number | false {
  if (isFinal(job.status)) return job.status === "completed" && !job.point_id ? 1000 : false;
  return job.status === "running" && job.plan.length === 0 ? 1000 : 5000;
}

function Loaded({ job }: { job: BackupJob }) {
  const { get, set } = useUrlState();
  const tab = get("tab") || "overview";
  const state = useProgress(job.id)?.status ?? job.status;
  return (
    <Page>
      <BackupHead job={job} state={isFinal(job.status) ? job.status : state} />
      <Notices job={job} />
      <div>
        <Tabs
          label="About this backup"
          current={tab}
          onChange={(key) => set({ tab: key === "overview" ? null : key, disk: null })}
          items={[
            { key: "overview", title: "Overview" },
            { key: "chain", title: "Chain" },
            { key: "log", title: "Log" },
          ]}
        >
          {tab === "overview" && <Overview job={job} />}
          {tab === "chain" &&
            (job.vm_id && job.repository_id ? (
              <ChainView vmId={job.vm_id} repositoryId={job.repository_id} currentId={job.id} />
            ) : (
              <Card>
                <p className="text-sm text-ink-3">
                  Its VM or its repository is not known any more.
                </p>
              </Card>
            ))}
          {tab === "log" && <RunLog runId={job.id} active={!isFinal(job.status)} />}
        </Tabs>
      </div>
      {get("restore") && job.can_browse && (
        <RestoreWizard job={job} onClose={() => set({ restore: null, restore_disk: null })} />
      )}
    </Page>
  );
}

function Notices({ job }: { job: BackupJob }) {
  return (
    <>
      <RunFailure
        run={{
          state: job.status,
          attempt: job.attempt,
          error_code: job.error_code ?? null,
          error_message: job.error_message ?? null,
          error_hint: job.error_hint ?? null,
          not_before: job.not_before ?? null,
        }}
      />
      {job.damaged && (
        <Notice tone="bad" title="This restore point cannot be read now">
          Its record in {job.repository_name} is damaged: {job.damaged}. Bring points/{job.point_id}{" "}
          back from versions or snapshots that the storage keeps, or delete it here and copy it back
          from another repository. No other restore point is affected.
        </Notice>
      )}
      {job.suspect && (
        <Notice tone="bad" title="This restore point is in doubt">
          {job.suspect}
        </Notice>
      )}
      {job.held && (
        <Notice tone="info" icon={HiOutlineLockClosed} title="Held: it is not deleted">
          {job.held}
        </Notice>
      )}
    </>
  );
}

function Overview({ job }: { job: BackupJob }) {
  const run = useQuery({
    ...runQuery(job.id),
    refetchInterval: isFinal(job.status) ? false : 10_000,
  });
  return (
    <div className="flex flex-col gap-4">
      {job.imported ? (
        <Notice tone="info">
          This restore point was found in the repository. How its backup went is not on record here.
        </Notice>
      ) : run.data ? (
        <RunPanel run={run.data} />
      ) : run.error ? (
        <Card>
          <ErrorState compact failure={failureOf(run.error)} onRetry={() => run.refetch()} />
        </Card>
      ) : (
        <Card title="Progress">
          <SkeletonLines lines={4} label="Loading the progress" />
        </Card>
      )}
      {run.data ? (
        <LiveDisksCard job={job} run={run.data} />
      ) : (
        <DisksCard job={job} disks={job.disks} />
      )}
      <PointCards job={job} />
    </div>
  );
}

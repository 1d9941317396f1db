"use client";

import { useQuery } from "@tanstack/react-query";
import dynamic from "next/dynamic";
import Link from "next/link";
import { HiOutlineExclamation, HiOutlineShieldCheck } from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useStartBackup } from "@/features/backups/start-backup";
import { kindWords, RunProgressLine } from "@/features/runs/run-state";
import { useDenied } from "@/features/session/session";
import { ProtectionBadge } from "@/features/vms/protection";
import { useSelectedVm } from "@/features/vms/selection";
import { Button } from "@/ui/button";
import { Card, StatCard } from "@/ui/card";
import { bytes, count, exactBytes, plural, ratio, sentence } from "@/ui/format";
import { Page, PageHeader } from "@/ui/page";
import { EmptyState, ErrorState, Notice, Skeleton, SkeletonLines } from "@/ui/states";
import { Ago } from "@/ui/values";

type Overview = Schemas["Overview"];

const Loading = () => <Skeleton className="h-56 w-full" />;
const ActivityChart = dynamic(() => import("@/ui/chart").then((charts) => charts.ActivityChart), {
  ssr: false,
  loading: Loading,
});
const StorageChart = dynamic(() => import("@/ui/chart").then((charts) => charts.StorageChart), {
  ssr: false,
  loading: Loading,
});

export function DashboardPage() {
  const overview = useQuery({
    queryKey: ["overview"],
    queryFn: () =>
      take(
        api.GET("/api/v1/overview", {
          params: { query: { time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone } },
        }),
      ),
    refetchInterval: 60_000,
  });
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const it = overview.data;
  return (
    <Page>
      <PageHeader
        title="Dashboard"
        actions={
          <Button
            variant="primary"
            onClick={() => start.ask()}
            disabledReason={
              mayBackUp ?? (it && it.vm_count === 0 ? "No virtual machines are known yet" : null)
            }
          >
            Start Backup
          </Button>
        }
      />
      {overview.error && !it ? (
        <Card>
          <ErrorState failure={failureOf(overview.error)} onRetry={() => overview.refetch()} />
        </Card>
      ) : (
        <>
          <Trouble overview={it} />
          <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
            <StatCard
              title="Total VMs"
              value={it && count(it.vm_count)}
              detail={
                it && (it.vm_count > 0 ? `${count(it.vms_protected)} protected` : "None added yet")
              }
              href="/virtual-machines"
            />
            <StatCard
              title="Replications"
              value={it && count(it.replication_count)}
              detail="None set up"
            />
            <StatCard
              title="Backups Today"
              value={it && count(it.backups_today)}
              detail={it && todayWords(it)}
              href="/backups"
            />
            <StatCard
              title="Storage Used"
              value={it && (it.used_bytes === null ? null : bytes(it.used_bytes))}
              exact={it?.used_bytes ? exactBytes(it.used_bytes) : undefined}
              detail={
                it &&
                (it.dedup_ratio && it.logical_bytes
                  ? `${bytes(it.logical_bytes)} of backups, ${ratio(it.dedup_ratio)} reduction`
                  : "Not measured yet")
              }
              href="/settings/repositories"
            />
          </div>
          {it && it.running.length > 0 && <Running overview={it} />}
          <div className="grid gap-4 xl:grid-cols-2">
            <Card title="Backups of the last 14 days">
              {it ? <ActivityChart days={it.activity} /> : <Loading />}
            </Card>
            <Card title="Storage and deduplication">
              {it ? (
                it.storage.length > 1 ? (
                  <StorageChart days={it.storage} />
                ) : (
                  <EmptyState compact title="No trend yet">
                    It is drawn from the daily measurement of each repository.
                  </EmptyState>
                )
              ) : (
                <Loading />
              )}
            </Card>
          </div>
          <div className="grid gap-4 xl:grid-cols-2">
            <Unprotected overview={it} />
            <Failures overview={it} />
          </div>
        </>
      )}
    </Page>
  );
}

function todayWords(it: Overview): string {
  const parts = [];
  if (it.backups_today_failed > 0) parts.push(`${count(it.backups_today_failed)} failed`);
  if (it.running_count > 0) parts.push(`${count(it.running_count)} running`);
  if (it.pending_count > 0) parts.push(`${count(it.pending_count)} waiting`);
  return parts.join(", ") || (it.backups_today > 0 ? "None failed" : "None yet");
}

function Trouble({ overview }: { overview: Overview | undefined }) {
  if (!overview || (overview.repositories_offline === 0 && overview.platforms_unreachable === 0))
    return null;
  return (
    <Notice tone="warn" icon={HiOutlineExclamation}>
      <span className="flex flex-wrap gap-x-4 gap-y-1">
        {overview.repositories_offline > 0 && (
          <Link href="/settings/repositories" className="font-medium underline underline-offset-2">
            {plural(overview.repositories_offline, "repository is", "repositories are")} offline
          </Link>
        )}
        {overview.platforms_unreachable > 0 && (
          <Link href="/settings/platforms" className="font-medium underline underline-offset-2">
            {plural(overview.platforms_unreachable, "platform is", "platforms are")} unreachable
          </Link>
        )}
      </span>
    </Notice>
  );
}

function Running({ overview }: { overview: Overview }) {
  return (
    <Card
      title="Running now"
      flush
      actions={
        <Button size="xs" variant="ghost" href="/monitoring">
          Monitoring
        </Button>
      }
    >
      <ul>
        {overview.running.slice(0, 6).map((run) => (
          <li
            key={run.id}
            className="grid grid-cols-[minmax(0,1fr)_minmax(0,1fr)] items-center gap-4 border-b border-line px-4 py-2 last:border-b-0"
          >
            <div className="min-w-0">
              <div className="truncate font-medium" title={run.vm_name}>
                {run.vm_name || kindWords(run.kind)}
              </div>
              <div className="text-xs text-ink-3">
                {kindWords(run.kind)}, started <Ago time={run.started_at} />
              </div>
            </div>
            <RunProgressLine run={run} />
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Unprotected({ overview }: { overview: Overview | undefined }) {
  const [, select] = useSelectedVm();
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const shown = overview?.unprotected ?? [];
  const all = overview ? overview.vms_unprotected + overview.vms_failing + overview.vms_stale : 0;
  return (
    <Card
      title="VMs without protection"
      description={
        overview && all > 0
          ? `${plural(overview.vms_unprotected, "unprotected", "unprotected")}, ${count(overview.vms_failing)} failing, ${count(overview.vms_stale)} stale`
          : undefined
      }
      flush
      actions={
        all > shown.length && (
          <Button size="xs" variant="ghost" href="/virtual-machines?protection=unprotected">
            All
          </Button>
        )
      }
    >
      {!overview ? (
        <div className="p-4">
          <SkeletonLines lines={5} />
        </div>
      ) : shown.length === 0 ? (
        overview.vm_count === 0 ? (
          <EmptyState
            compact
            title="No virtual machines yet"
            action={<Button href="/discovery">Discover them</Button>}
          />
        ) : (
          <EmptyState compact icon={HiOutlineShieldCheck} title="Every VM is protected">
            Each has a recent restore point.
          </EmptyState>
        )
      ) : (
        <ul>
          {shown.map((vm) => (
            <li
              key={vm.id}
              className="flex items-center gap-3 border-b border-line py-1.5 pr-2 pl-4 last:border-b-0 hover:bg-hover"
            >
              <button
                type="button"
                className="min-w-0 flex-1 truncate rounded py-1 text-left font-medium hover:underline"
                title={vm.name}
                onClick={() => select(vm.id)}
              >
                {vm.name}
              </button>
              <span className="hidden w-24 flex-none text-xs text-ink-3 sm:block">
                <Ago time={vm.last_backup_at} never="No backup" />
              </span>
              <span className="w-24 flex-none">
                <ProtectionBadge protection={vm.protection} />
              </span>
              <Button
                size="xs"
                onClick={() => start.now({ id: vm.id, name: vm.name })}
                disabledReason={mayBackUp}
                busy={start.starting === vm.id}
                aria-label={`Backup ${vm.name}`}
              >
                Backup
              </Button>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Failures({ overview }: { overview: Overview | undefined }) {
  return (
    <Card
      title="Last failures"
      flush
      actions={
        <Button size="xs" variant="ghost" href="/backups?status=failed">
          All
        </Button>
      }
    >
      {!overview ? (
        <div className="p-4">
          <SkeletonLines lines={5} />
        </div>
      ) : overview.failures.length === 0 ? (
        <EmptyState compact icon={HiOutlineShieldCheck} title="Nothing failed lately" />
      ) : (
        <ul>
          {overview.failures.map((run) => (
            <li key={run.id} className="border-b border-line last:border-b-0">
              <Link
                href={`/backups/${encodeURIComponent(run.id)}`}
                className="block px-4 py-2.5 outline-offset-[-2px] hover:bg-hover"
              >
                <div className="flex items-baseline gap-3">
                  <span className="min-w-0 flex-1 truncate font-medium" title={run.vm_name}>
                    {run.vm_name || kindWords(run.kind)}
                  </span>
                  <span className="flex-none text-xs text-ink-3">
                    <Ago time={run.completed_at ?? run.created_at} />
                  </span>
                </div>
                <p
                  className="line-clamp-2 text-xs break-words text-ink-3"
                  title={run.error_message ?? undefined}
                >
                  {run.error_message ? sentence(run.error_message) : kindWords(run.kind)}
                </p>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

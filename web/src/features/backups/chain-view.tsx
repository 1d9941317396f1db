"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import { failureOf } from "@/api-client";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { plural, words } from "@/ui/format";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { Segments } from "@/ui/tabs";
import { useUrlState } from "@/ui/url-state";
import { Ago, Bytes, Moment } from "@/ui/values";
import { PointBadges } from "./point-badges";
import { type BackupChain, chainsQuery } from "./queries";

const MEASURED_WITHIN = 15;

function isUnmeasured(chain: BackupChain): boolean {
  return chain.unique_bytes.some((bytes) => bytes === null);
}

/** How the points of a VM in one repository were captured, disk by disk. */
export function ChainView({
  vmId,
  repositoryId,
  currentId,
}: {
  vmId: string;
  repositoryId: string;
  currentId?: string;
}) {
  const chains = useQuery({
    ...chainsQuery(vmId, repositoryId),
    // What each point alone holds is measured once somebody looks: a few seconds later it is there.
    refetchInterval: ({ state }) =>
      state.dataUpdateCount < MEASURED_WITHIN && state.data?.some(isUnmeasured) ? 2000 : false,
  });
  const { get, set } = useUrlState();
  if (chains.error && !chains.data)
    return (
      <Card>
        <ErrorState failure={failureOf(chains.error)} onRetry={() => chains.refetch()} />
      </Card>
    );
  if (!chains.data)
    return (
      <Card>
        <SkeletonLines lines={6} label="Loading the chain" />
      </Card>
    );
  const disks = [...new Set(chains.data.map((chain) => chain.disk_id))].sort();
  const disk = disks.includes(get("disk")) ? get("disk") : disks[0];
  if (disk === undefined)
    return (
      <Card>
        <EmptyState title="No chain yet">
          A chain begins with the first backup that completes.
        </EmptyState>
      </Card>
    );
  const shown = chains.data.filter((chain) => chain.disk_id === disk);
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-3">
        {disks.length > 1 && (
          <Segments
            label="Disk"
            current={disk}
            onChange={(key) => set({ disk: key === disks[0] ? null : key })}
            items={disks.map((key) => ({ key, title: key }))}
          />
        )}
        <p className="min-w-0 flex-1 basis-60 text-sm text-ink-3">
          A chain says what was read for each point. Every point restores alone, and any can be
          deleted without harm to the others.
        </p>
      </div>
      {shown.map((chain) => (
        <Chain key={chain.chain_id} chain={chain} currentId={currentId} />
      ))}
    </div>
  );
}

function Chain({ chain, currentId }: { chain: BackupChain; currentId: string | undefined }) {
  const largest = Math.max(1, ...chain.disk_stored_bytes);
  const lines = chain.backups
    .map((job, place) => ({
      job,
      stored: chain.disk_stored_bytes[place] ?? 0,
      alone: chain.unique_bytes[place] ?? null,
    }))
    .toReversed();
  const measured = lines.some((line) => line.alone !== null);
  return (
    <Card
      flush
      title={
        <>
          {chain.disk_id} since <Moment time={chain.backups[0]?.created_at} />
        </>
      }
      description={
        <>
          {plural(chain.backup_count, "point")}, <Bytes value={chain.total_size_bytes} /> stored
        </>
      }
    >
      <ol aria-label={`Chain of ${chain.disk_id}`} className="@container">
        {lines.map(({ job, stored, alone }, place) => {
          const full = job.id === chain.full_backup_id;
          return (
            <li key={job.id} className="border-b border-line last:border-b-0">
              <Link
                href={`/backups/${encodeURIComponent(job.id)}?tab=chain`}
                aria-current={job.id === currentId ? "true" : undefined}
                className={cx(
                  "flex min-h-12 items-center gap-3 px-4 py-1.5 outline-offset-[-2px]",
                  job.id === currentId ? "bg-accent-soft/60" : "hover:bg-hover",
                )}
              >
                <span
                  aria-hidden
                  className="relative flex w-4 flex-none justify-center self-stretch"
                >
                  <span
                    className={cx(
                      "absolute w-px bg-line-strong",
                      place === 0 ? "top-1/2" : "-top-1.5",
                      full ? "bottom-1/2" : "-bottom-1.5",
                    )}
                  />
                  <span
                    className={cx(
                      "relative self-center bg-accent-solid",
                      full ? "size-3 rounded-[3px]" : "size-2 rounded-full",
                    )}
                  />
                </span>
                <span className="w-28 flex-none">
                  <span className="block font-medium">
                    <Moment time={job.created_at} />
                  </span>
                  <span className="block text-xs text-ink-3">
                    <Ago time={job.created_at} />
                  </span>
                </span>
                <span className="min-w-0 flex-1 truncate text-ink-2 @xl:w-24 @xl:flex-none">
                  {full ? "Full" : words(job.backup_type)}
                </span>
                <span className="hidden min-w-16 flex-1 @xl:block" aria-hidden>
                  <span
                    className="block h-2 rounded-full bg-accent-solid"
                    style={{ width: `${Math.max(1, (100 * stored) / largest)}%` }}
                  />
                </span>
                <span className="ml-auto hidden flex-none items-center gap-1 @lg:flex">
                  <PointBadges point={job} />
                </span>
                <span className="ml-auto w-20 flex-none text-right @lg:ml-0">
                  <span className="block">
                    <Bytes value={stored} />
                  </span>
                  <span className="block text-2xs text-ink-3">stored</span>
                </span>
                {measured && (
                  <span className="hidden w-20 flex-none text-right @md:block">
                    <span className="block">
                      <Bytes value={alone} />
                    </span>
                    <span className="block text-2xs text-ink-3">only here</span>
                  </span>
                )}
              </Link>
            </li>
          );
        })}
      </ol>
    </Card>
  );
}

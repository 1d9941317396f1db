"use client";

import Link from "next/link";
import { HiOutlineXCircle } from "react-icons/hi";
import type { Schemas } from "@/api-client";
import { useLiveRun, useProgress } from "@/features/live/progress";
import { partsOf } from "@/features/runs/run-panel";
import { countsBytes, kindWords, permissionFor, runName } from "@/features/runs/run-state";
import { useRunActions } from "@/features/runs/runs-table";
import { useDenied } from "@/features/session/session";
import { useSelectedVm } from "@/features/vms/selection";
import { IconButton } from "@/ui/button";
import { rate, sentence } from "@/ui/format";
import { PartsBar, Progress } from "@/ui/progress";
import { Ago, Bytes, Duration, Rate } from "@/ui/values";
import { Sparkline, useHistory } from "./history";

type Run = Schemas["RunBrief"];

/** A run at work: how far, what it waits for, how fast. */
export function RunningRow({ run: given }: { run: Run }) {
  const run = useLiveRun(given);
  const update = useProgress(given.id);
  const speeds = useHistory(run.throughput_bps, update?.at);
  const [, select] = useSelectedVm();
  const denied = useDenied(permissionFor(run.kind));
  const { cancel } = useRunActions();
  const split = update?.bottleneck;
  const inBytes = countsBytes(run.kind);
  return (
    <li className="grid gap-x-6 gap-y-2 border-b border-line px-4 py-3 last:border-b-0 md:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_12rem]">
      <div className="flex min-w-0 items-start gap-2">
        <div className="min-w-0 flex-1">
          <button
            type="button"
            className="block max-w-full truncate rounded font-medium hover:underline"
            title={run.vm_name}
            onClick={() => run.vm_id && select(run.vm_id)}
          >
            {run.vm_name || kindWords(run.kind)}
          </button>
          <p className="truncate text-xs text-ink-3">
            {kindWords(run.kind)} · {sentence(run.phase)} · started <Ago time={run.started_at} />
          </p>
          <Link
            href={`${run.kind === "backup" ? "/backups" : "/monitoring/runs"}/${encodeURIComponent(run.id)}`}
            className="rounded text-xs text-accent hover:underline"
          >
            Details
          </Link>
        </div>
        <IconButton
          icon={HiOutlineXCircle}
          label={`Cancel: ${runName(run)}`}
          onClick={() => cancel.mutate(run.id)}
          disabledReason={denied}
        />
      </div>
      <div className="min-w-0">
        <Progress value={run.progress_percent} label={runName(run)} number />
        <p className="mt-1 text-xs text-ink-3">
          {update && inBytes ? (
            <>
              <Bytes value={update.bytes_transferred} /> of <Bytes value={update.total_bytes} />,{" "}
            </>
          ) : null}
          {run.eta_seconds === null ? (
            "time left not known yet"
          ) : (
            <>
              <Duration seconds={run.eta_seconds} /> left
            </>
          )}
        </p>
        {split && (
          <div className="mt-2">
            <PartsBar
              label="Where the time goes"
              parts={partsOf(split).filter((part) => part.value > 0)}
            />
          </div>
        )}
      </div>
      {inBytes && (
        <div className="min-w-0">
          <div className="flex items-baseline justify-between text-xs text-ink-3">
            Speed
            <span className="text-sm font-medium text-ink">
              <Rate value={run.throughput_bps} />
            </span>
          </div>
          <Sparkline points={speeds} label={`Speed: ${runName(run)}`} format={rate} />
        </div>
      )}
    </li>
  );
}

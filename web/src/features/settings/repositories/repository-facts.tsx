"use client";

import { HiOutlineExclamation, HiOutlineLockClosed } from "react-icons/hi";
import { Badge } from "@/ui/badge";
import { cx } from "@/ui/class-names";
import { count, percent, plural, ratio, sentence, words } from "@/ui/format";
import { Progress } from "@/ui/progress";
import { Notice } from "@/ui/states";
import { Ago, Bytes, Missing } from "@/ui/values";
import { DamagedPoints } from "./damaged-points";
import type { Repository } from "./maintenance-modal";

const NEARLY_FULL = 80;
const FULL = 90;

/** Whether the last check or verify has found damage. */
function isDamaged(it: Repository): boolean {
  return it.last_check_result !== "" && it.last_check_result !== "sound";
}

/** Whether it is there, and whether its points can be deleted. */
export function RepositoryBadges({ repository: it }: { repository: Repository }) {
  return (
    <>
      {it.immutable_days > 0 && (
        <Badge
          tone={it.immutable ? "ok" : "warn"}
          icon={HiOutlineLockClosed}
          title={it.immutable_message}
        >
          {it.immutable ? `Immutable ${plural(it.immutable_days, "day")}` : "Locks not proven"}
        </Badge>
      )}
      <Badge
        tone={it.state === "online" ? "ok" : it.state === "offline" ? "bad" : "idle"}
        title={it.state_message}
      >
        {words(it.state)}
      </Badge>
    </>
  );
}

/** What is wrong with it, if anything. */
export function RepositoryProblems({ repository: it }: { repository: Repository }) {
  return (
    <>
      {it.state === "offline" && (
        <Notice tone="bad" className="mb-3">
          {it.state_message}
        </Notice>
      )}
      {it.damaged_count > 0 ? (
        <DamagedPoints repository={it} />
      ) : (
        isDamaged(it) && (
          <Notice
            tone="bad"
            icon={HiOutlineExclamation}
            title="The last check found damage"
            className="mb-4"
          >
            <p>{sentence(it.last_check_result)}.</p>
            <p className="mt-1">
              Repair brings back what a copy in another repository has. Then verify again.
            </p>
          </Notice>
        )
      )}
    </>
  );
}

/** How full, how sound, whether it can be deleted from. */
export function RepositoryFacts({ repository: it }: { repository: Repository }) {
  const usedPercent =
    it.total_bytes && it.available_bytes !== null
      ? (100 * (it.total_bytes - it.available_bytes)) / it.total_bytes
      : null;
  return (
    <>
      {it.immutable_message && (
        <p
          className={cx(
            "mb-3 flex items-start gap-2 text-xs",
            it.immutable ? "text-ink-3" : "text-warn",
          )}
        >
          <HiOutlineLockClosed className="mt-px size-4 flex-none" aria-hidden />
          <span>
            {it.immutable_message}{" "}
            {it.immutable_days > 0 && (
              <>
                Locks renewed: <Ago time={it.locks_renewed_at} never="not yet" />.
              </>
            )}
          </span>
        </p>
      )}
      {usedPercent !== null && (
        <div className="mb-4">
          <Progress
            value={usedPercent}
            label={`Space used where ${it.name} is`}
            tone={usedPercent > FULL ? "bad" : usedPercent > NEARLY_FULL ? "warn" : "run"}
            size="lg"
          />
          <p className="mt-1.5 flex justify-between gap-3 text-xs text-ink-3">
            <span>{percent(usedPercent)} of the volume used</span>
            <span>
              <Bytes value={it.available_bytes} /> free of <Bytes value={it.total_bytes} />
            </span>
          </p>
        </div>
      )}
      <dl className="grid grid-cols-2 gap-x-4 gap-y-3 sm:grid-cols-4">
        {(
          [
            ["Stored", <Bytes key="v" value={it.used_bytes} />],
            ["Of backups", <Bytes key="v" value={it.logical_bytes} />],
            [
              "Deduplication",
              it.dedup_ratio ? (
                ratio(it.dedup_ratio)
              ) : (
                <Missing
                  key="v"
                  title={it.measured_at ? "There are no backups yet" : "Not measured yet"}
                />
              ),
            ],
            ["Restore points", count(it.backup_count)],
            ["Virtual machines", count(it.vm_count)],
            ["Measured", <Ago key="v" time={it.measured_at} />],
            ["Last check", <Ago key="v" time={it.last_check_at} />],
            [
              "Result",
              it.last_check_result ? (
                <span
                  key="v"
                  title={sentence(it.last_check_result)}
                  className={isDamaged(it) ? "font-medium text-bad" : "text-ok"}
                >
                  {isDamaged(it) ? "Damaged" : "Sound"}
                </span>
              ) : (
                <Missing key="v" title="Not checked yet" />
              ),
            ],
          ] as const
        ).map(([name, value]) => (
          <div key={name} className="min-w-0">
            <dt className="text-xs text-ink-3">{name}</dt>
            <dd className="truncate tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

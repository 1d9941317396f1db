"use client";

import { useState } from "react";
import {
  HiOutlineBadgeCheck,
  HiOutlineLockClosed,
  HiOutlinePencil,
  HiOutlineShieldCheck,
  HiOutlineTrash,
} from "react-icons/hi";
import { api, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { count, percent, plural, ratio, words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { Progress } from "@/ui/progress";
import { Notice } from "@/ui/states";
import { Ago, Bytes, Missing, Truncated } from "@/ui/values";
import { useSave } from "../use-save";
import { DamagedPoints } from "./damaged-points";
import { ImmutabilityModal } from "./immutability";
import { ForgetModal, RenameModal } from "./repository-modals";

type Repository = Schemas["RepositoryInfo"];

/** One repository: how full, how sound, whether it can be deleted from, and what to do with it. */
export function RepositoryCard({ repository: it }: { repository: Repository }) {
  const mayManage = useDenied("repository.manage");
  const mayMaintain = useDenied("repository.maintain");
  const [asking, setAsking] = useState<"rename" | "forget" | "immutability" | null>(null);
  const path = { params: { path: { repository_id: it.id } } };
  const maintain = useSave({
    save: (what: "check" | "verify" | "lock") => {
      switch (what) {
        case "verify":
          return take(
            api.POST("/api/v1/repositories/{repository_id}/verify", { ...path, body: {} }),
          );
        case "lock":
          return take(api.POST("/api/v1/repositories/{repository_id}/lock", path));
        default:
          return take(
            api.POST("/api/v1/repositories/{repository_id}/check", {
              ...path,
              body: { read_data: false },
            }),
          );
      }
    },
    keys: ["runs", "monitoring", "repositories"],
    done: (accepted) =>
      accepted.existing
        ? "It runs already; follow it under Monitoring"
        : "Queued; follow it under Monitoring",
    sayFailure: "It was not queued",
  });
  const usedPercent =
    it.total_bytes && it.available_bytes !== null
      ? (100 * (it.total_bytes - it.available_bytes)) / it.total_bytes
      : null;
  const offline = it.state === "offline" ? "It is offline" : null;
  return (
    <Card
      title={it.name}
      description={
        <Truncated className="font-mono text-2xs">
          {it.endpoint ? `${it.location} at ${it.endpoint}` : it.location}
        </Truncated>
      }
      actions={
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
          <Menu
            label={`Actions for ${it.name}`}
            items={[
              {
                label: "Check structure",
                icon: HiOutlineBadgeCheck,
                onSelect: () => maintain.mutate("check"),
                disabledReason: mayMaintain ?? offline,
              },
              {
                label: "Verify all data",
                icon: HiOutlineShieldCheck,
                onSelect: () => maintain.mutate("verify"),
                disabledReason: mayMaintain ?? offline,
              },
              ...(it.immutable_days > 0
                ? [
                    {
                      label: "Renew locks now",
                      icon: HiOutlineLockClosed,
                      onSelect: () => maintain.mutate("lock"),
                      disabledReason: mayMaintain ?? offline,
                    },
                  ]
                : []),
              null,
              {
                label: "Immutability…",
                icon: HiOutlineLockClosed,
                onSelect: () => setAsking("immutability"),
                disabledReason: mayManage ?? offline,
              },
              {
                label: "Rename…",
                icon: HiOutlinePencil,
                onSelect: () => setAsking("rename"),
                disabledReason: mayManage,
              },
              {
                label: "Forget…",
                icon: HiOutlineTrash,
                danger: true,
                onSelect: () => setAsking("forget"),
                disabledReason: mayManage,
              },
            ]}
          />
        </>
      }
    >
      {it.state === "offline" && (
        <Notice tone="bad" className="mb-3">
          {it.state_message}
        </Notice>
      )}
      {it.damaged_count > 0 && <DamagedPoints repository={it} />}
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
            tone={usedPercent > 90 ? "bad" : usedPercent > 80 ? "warn" : "run"}
            size="lg"
          />
          <p className="mt-1.5 flex justify-between text-xs text-ink-3">
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
              it.dedup_ratio === null ? (
                <Missing key="v" title="Not measured yet" />
              ) : (
                ratio(it.dedup_ratio)
              ),
            ],
            ["Restore points", count(it.backup_count)],
            ["Virtual machines", count(it.vm_count)],
            ["Measured", <Ago key="v" time={it.measured_at} />],
            ["Last check", <Ago key="v" time={it.last_check_at} />],
            [
              "Result",
              it.last_check_result ? (
                words(it.last_check_result)
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
      {asking === "rename" && <RenameModal repository={it} onClose={() => setAsking(null)} />}
      {asking === "immutability" && (
        <ImmutabilityModal repository={it} onClose={() => setAsking(null)} />
      )}
      {asking === "forget" && <ForgetModal repository={it} onClose={() => setAsking(null)} />}
    </Card>
  );
}

"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import { HiOutlineExclamation } from "react-icons/hi";
import { api, type Schemas, take } from "@/api-client";
import { plural } from "@/ui/format";
import { Notice } from "@/ui/states";
import { Moment } from "@/ui/values";
import { inRepository } from "./queries";

const SHOWN = 10;

/** Which restore points of a repository cannot be read, and what to do about it. */
export function DamagedPoints({ repository }: { repository: Schemas["RepositoryInfo"] }) {
  const damaged = useQuery({
    queryKey: ["repositories", repository.id, "damaged"],
    queryFn: () =>
      take(api.GET("/api/v1/repositories/{repository_id}/damaged", inRepository(repository.id))),
  });
  const points = damaged.data?.points ?? [];
  const hidden = repository.damaged_count - Math.min(points.length, SHOWN);
  return (
    <Notice
      tone="bad"
      icon={HiOutlineExclamation}
      title={`${plural(repository.damaged_count, "restore point")} cannot be read`}
      className="mb-4"
    >
      <ul className="flex flex-col">
        {points.slice(0, SHOWN).map((point) => (
          <li key={point.point_id} title={point.problem}>
            {point.backup_id ? (
              <Link
                href={`/backups/${encodeURIComponent(point.backup_id)}`}
                className="rounded font-medium text-ink hover:underline"
              >
                {point.vm_name}, <Moment time={point.captured_at} />
              </Link>
            ) : (
              <span className="font-mono text-xs text-ink">points/{point.point_id}</span>
            )}
          </li>
        ))}
        {damaged.data && hidden > 0 && <li>and {hidden} more</li>}
      </ul>
      {damaged.data && <p className="mt-1">{damaged.data.hint}.</p>}
    </Notice>
  );
}

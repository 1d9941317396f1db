"use client";

import { useState } from "react";
import type { Schemas } from "@/api-client";
import { Badge } from "@/ui/badge";
import { bytes, count, exactBytes, plural, sentence } from "@/ui/format";
import { type Column, DataTable } from "@/ui/table";
import { Segments } from "@/ui/tabs";
import { Bytes, Missing, Moment, Truncated } from "@/ui/values";

type Preview = Schemas["PrunePreview"];
type Decision = Preview["decisions"][number];

const SHOWN = 500;

const COLUMNS: Column<Decision>[] = [
  {
    key: "verdict",
    title: "Verdict",
    width: "w-20 @2xl:w-24",
    cell: (one) => <Badge tone={one.keep ? "ok" : "bad"}>{one.keep ? "Stays" : "Goes"}</Badge>,
  },
  {
    key: "point",
    title: "Restore point",
    cell: (one) => (
      <div className="py-2 @2xl:py-0">
        <Truncated className="font-medium">{one.vm_name}</Truncated>
        <span className="block text-xs text-ink-3">
          <Moment time={one.captured_at} />
        </span>
        <span className="mt-0.5 block text-xs whitespace-normal text-ink-2 @2xl:hidden">
          {reasonsOf(one)}
        </span>
      </div>
    ),
  },
  {
    key: "why",
    title: "Why",
    from: "md",
    cell: (one) => <span className="whitespace-normal text-ink-2">{reasonsOf(one)}</span>,
  },
  {
    key: "stored",
    title: "Stored",
    width: "w-24",
    align: "right",
    from: "lg",
    cell: (one) => <Bytes value={one.stored_bytes} />,
  },
  {
    key: "unique",
    title: "Only here",
    width: "w-24",
    align: "right",
    cell: (one) =>
      one.unique_bytes === null ? (
        <Missing title="Not measured yet" />
      ) : (
        <Bytes value={one.unique_bytes} />
      ),
  },
];

function reasonsOf(one: Decision): string {
  return sentence(one.reasons.join("; "));
}

/** What a prune would do: in one sentence, and point by point. */
export function PrunePlan({ preview }: { preview: Preview }) {
  const [shown, setShown] = useState<"going" | "staying">(
    preview.delete_count > 0 ? "going" : "staying",
  );
  const rows = preview.decisions.filter((one) => one.keep === (shown === "staying")).toReversed();
  return (
    <section aria-label="Preview" className="flex flex-col gap-3">
      <div className="flex flex-wrap items-end justify-between gap-3">
        <p className="text-sm text-ink-2" role="status">
          {preview.decisions.length === 0 ? (
            "There are no restore points yet."
          ) : preview.delete_count === 0 ? (
            <>All {plural(preview.keep_count, "restore point")} stay.</>
          ) : (
            <>
              <strong className="font-semibold text-ink">
                {count(preview.delete_count)} of{" "}
                {plural(preview.delete_count + preview.keep_count, "restore point")}
              </strong>{" "}
              would go
              {preview.reclaim_bytes !== null && (
                <>
                  , and with them about{" "}
                  <strong
                    className="font-semibold text-ink"
                    title={exactBytes(preview.reclaim_bytes)}
                  >
                    {bytes(preview.reclaim_bytes)}
                  </strong>
                </>
              )}
              .
            </>
          )}
        </p>
        <Segments
          label="Which restore points"
          current={shown}
          onChange={setShown}
          items={[
            { key: "going", title: `Going ${count(preview.delete_count)}` },
            { key: "staying", title: `Staying ${count(preview.keep_count)}` },
          ]}
        />
      </div>
      <div className="overflow-hidden rounded-md border border-line">
        <DataTable
          tall
          what={shown === "going" ? "restore points that would go" : "restore points that stay"}
          columns={COLUMNS}
          rows={rows.slice(0, SHOWN)}
          rowKey={(one) => one.point_id}
          empty={{
            title: shown === "going" ? "No restore point would go" : "No restore point stays",
            text:
              shown === "going" && preview.keep_count > 0
                ? "The rule, or what protects points, keeps all of them."
                : "",
          }}
        />
      </div>
      {rows.length > SHOWN && (
        <p className="text-xs text-ink-3">
          The newest {count(SHOWN)} of {count(rows.length)} are shown.
        </p>
      )}
      {rows.length > 0 && (
        <p className="text-xs text-ink-3">
          “Only here” is what one point alone holds. What several of them share becomes free when
          all of these go, so that the sum can be less than the whole.
        </p>
      )}
    </section>
  );
}

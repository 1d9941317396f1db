"use client";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { failureOf, type Schemas } from "@/api-client";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { exactTime, plural, shortTime } from "@/ui/format";
import { EmptyState, ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { Ago, Bytes, Moment } from "@/ui/values";
import { type DiffLine, diffLines } from "./diff-lines";
import type { Place } from "./places";
import { diffQuery, versionsQuery } from "./queries";

type Version = Schemas["FileVersion"];

/** One file in the restore points of its VM, and what differs between two of them. */
export function FileVersions({
  vmId,
  place,
  currentId,
  onGo,
}: {
  vmId: string;
  place: Place;
  /** The backup in which it is looked at now. */
  currentId: string;
  onGo: (backupId: string) => void;
}) {
  const versions = useInfiniteQuery(versionsQuery(vmId, place));
  const [sides, setSides] = useState<{ left?: string; right?: string }>({});
  if (versions.error && !versions.data)
    return <ErrorState failure={failureOf(versions.error)} onRetry={() => versions.refetch()} />;
  if (!versions.data)
    return (
      <>
        <p className="mb-3 text-sm text-ink-2">
          Looking into the restore points: each is opened in a sandbox of its own.
        </p>
        <SkeletonLines lines={5} label="Looking for versions" />
      </>
    );
  const all = versions.data.pages.flatMap((page) => page.versions);
  const total = versions.data.pages[0]?.total ?? 0;
  const { left, right } = chosenSides(all, sides, currentId);
  return (
    <div className="flex flex-col gap-4">
      <div className="scroll-thin max-h-64 overflow-y-auto rounded-md border border-line">
        <table className="w-full text-left text-sm" aria-label="Versions">
          <thead className="sticky top-0 bg-raised text-xs text-ink-3">
            <tr>
              <th className="h-8 w-16 pl-3 font-medium" scope="col">
                Before
              </th>
              <th className="h-8 w-14 font-medium" scope="col">
                After
              </th>
              <th className="h-8 font-medium" scope="col">
                Restore point
              </th>
              <th className="h-8 font-medium" scope="col">
                File
              </th>
              <th className="h-8 w-20 pr-3" scope="col">
                <span className="sr-only">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {all.map((version) => (
              <VersionRow
                key={version.backup_id}
                version={version}
                current={version.backup_id === currentId}
                left={version.backup_id === left}
                right={version.backup_id === right}
                onLeft={() => setSides({ ...sides, left: version.backup_id })}
                onRight={() => setSides({ ...sides, right: version.backup_id })}
                onGo={() => onGo(version.backup_id)}
              />
            ))}
          </tbody>
        </table>
      </div>
      {versions.hasNextPage && (
        <Button
          size="xs"
          className="self-start"
          busy={versions.isFetchingNextPage}
          onClick={() => void versions.fetchNextPage()}
        >
          Look into older ones ({all.length} of {plural(total, "point")})
        </Button>
      )}
      {left && right && left !== right ? (
        <Difference
          place={place}
          left={all.find((one) => one.backup_id === left)}
          right={all.find((one) => one.backup_id === right)}
        />
      ) : (
        <EmptyState title="Nothing to compare with">
          {all.filter((one) => one.state === "present").length < 2
            ? "The file is in one of these restore points only."
            : "Choose two different restore points, one before and one after."}
        </EmptyState>
      )}
    </div>
  );
}

/** Unless somebody chose: the version looked at, or the newest, and the newest older one that differs. */
function chosenSides(
  all: Version[],
  sides: { left?: string; right?: string },
  currentId: string,
): { left: string | undefined; right: string | undefined } {
  const present = all.filter((one) => one.state === "present");
  const right =
    sides.right ?? (present.find((one) => one.backup_id === currentId) ?? present[0])?.backup_id;
  if (sides.left) return { left: sides.left, right };
  // `changed` says that a version differs from the next older one: that one is the other side.
  const from = present.findIndex((one) => one.backup_id === right);
  const last = present.findIndex((one, place) => place >= from && one.changed);
  return { left: present[(last < 0 ? from : last) + 1]?.backup_id, right };
}

function VersionRow({
  version,
  current,
  left,
  right,
  onLeft,
  onRight,
  onGo,
}: {
  version: Version;
  current: boolean;
  left: boolean;
  right: boolean;
  onLeft: () => void;
  onRight: () => void;
  onGo: () => void;
}) {
  const able = version.state === "present";
  const when = shortTime(version.captured_at);
  return (
    <tr className={cx("border-t border-line", current && "bg-accent-soft/40")}>
      <td className="h-10 pl-3">
        <input
          type="radio"
          name="before"
          className="check block"
          aria-label={`Before: ${when}`}
          checked={left}
          disabled={!able}
          onChange={onLeft}
        />
      </td>
      <td>
        <input
          type="radio"
          name="after"
          className="check block"
          aria-label={`After: ${when}`}
          checked={right}
          disabled={!able}
          onChange={onRight}
        />
      </td>
      <td className="pr-3">
        <span className="block font-medium">
          <Moment time={version.captured_at} />
        </span>
        <span className="block text-2xs text-ink-3">
          <Ago time={version.captured_at} />
        </span>
      </td>
      <td>
        {able ? (
          <span className="flex flex-wrap items-center gap-x-2">
            <Bytes value={version.size} />
            {version.changed && <Badge tone="run">Changed</Badge>}
          </span>
        ) : (
          <span className="text-ink-3" title={version.problem || undefined}>
            {version.state === "absent" ? "Not there" : "Cannot be read"}
          </span>
        )}
      </td>
      <td className="pr-3 text-right">
        <Button
          size="xs"
          variant="ghost"
          aria-label={`Open the folder on ${when}`}
          onClick={onGo}
          disabledReason={current ? "this is open" : able ? null : "the file is not there"}
        >
          Open
        </Button>
      </td>
    </tr>
  );
}

function Difference({
  place,
  left,
  right,
}: {
  place: Place;
  left: Version | undefined;
  right: Version | undefined;
}) {
  const diff = useQuery({
    ...diffQuery(place, left?.backup_id ?? "", right?.backup_id ?? ""),
    enabled: Boolean(left && right),
  });
  if (diff.error)
    return <ErrorState compact failure={failureOf(diff.error)} onRetry={() => diff.refetch()} />;
  if (!diff.data || !left || !right) return <SkeletonLines lines={5} label="Comparing" />;
  const { equal, text, truncated } = diff.data;
  const lines = diffLines(diff.data.diff);
  return (
    <section aria-label="Difference">
      <h3 className="mb-2 text-sm font-medium">
        From {exactTime(left.captured_at)} to {exactTime(right.captured_at)}
      </h3>
      {equal ? (
        <Notice tone="ok">Both versions are the same, byte for byte.</Notice>
      ) : equal === null ? (
        <Notice tone="info">They are too large to be compared here. Download both.</Notice>
      ) : !text ? (
        <Notice tone="info">They differ, but are no text or too long to be shown as such.</Notice>
      ) : (
        <DiffText lines={lines} />
      )}
      {truncated && (
        <p className="mt-2 text-xs text-ink-3">This is the beginning of the difference.</p>
      )}
    </section>
  );
}

const LOOKS: Record<DiffLine["kind"], string> = {
  same: "text-ink-2",
  removed: "bg-bad-soft text-bad",
  added: "bg-ok-soft text-ok",
  gap: "bg-sunken text-ink-3",
  note: "text-ink-3 italic",
};
const SIGNS: Record<DiffLine["kind"], string> = {
  same: " ",
  removed: "−",
  added: "+",
  gap: "",
  note: "",
};

function DiffText({ lines }: { lines: DiffLine[] }) {
  return (
    <div
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reached by keys
      tabIndex={0}
      className="scroll-thin max-h-[45vh] overflow-auto rounded-md border border-line font-mono text-xs leading-5"
    >
      {lines.map((line, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line has no other name
        <div key={place} className={cx("flex min-w-fit", LOOKS[line.kind])}>
          <span className="w-10 flex-none pr-2 text-right select-none" aria-hidden>
            {line.left ?? ""}
          </span>
          <span className="w-10 flex-none pr-2 text-right select-none" aria-hidden>
            {line.right ?? ""}
          </span>
          <span className="w-4 flex-none select-none">{SIGNS[line.kind]}</span>
          <span className="flex-1 pr-3 whitespace-pre">{line.text}</span>
        </div>
      ))}
    </div>
  );
}

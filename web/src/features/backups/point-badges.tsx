import { HiOutlineLockClosed } from "react-icons/hi";
import { Badge } from "@/ui/badge";
import { exactTime } from "@/ui/format";

interface PointState {
  damaged: string;
  suspect: string;
  held: string;
  immutable_until?: string | null;
}

/** What is special about a restore point, each in a word; nothing for one like any other. */
export function PointBadges({ point }: { point: PointState }) {
  return (
    <>
      {point.damaged && (
        <Badge tone="bad" title={`It cannot be read: ${point.damaged}`}>
          Damaged
        </Badge>
      )}
      {point.suspect && (
        <Badge tone="bad" title={point.suspect}>
          Suspect
        </Badge>
      )}
      {point.held && (
        <Badge tone="idle" title={point.held}>
          Held
        </Badge>
      )}
      <ImmutableLock until={point.immutable_until} />
    </>
  );
}

/** A padlock with the time until which nobody can delete the point; nothing for one that may go. */
export function ImmutableLock({ until }: { until: string | null | undefined }) {
  if (!until) return null;
  const text = `Immutable until ${exactTime(until)}`;
  return (
    <span title={text} className="inline-flex flex-none items-center text-ink-3">
      <HiOutlineLockClosed className="size-4" aria-hidden />
      <span className="sr-only">{text}</span>
    </span>
  );
}

import type { ReactNode } from "react";
import type { Icon } from "./button";
import { cx } from "./class-names";

export type Tone = "ok" | "warn" | "bad" | "run" | "idle";

const TONES: Record<Tone, string> = {
  ok: "bg-ok-soft text-ok",
  warn: "bg-warn-soft text-warn",
  bad: "bg-bad-soft text-bad",
  run: "bg-accent-soft text-accent",
  idle: "bg-sunken text-ink-2",
};
const DOTS: Record<Tone, string> = {
  ok: "bg-ok-solid",
  warn: "bg-warn-solid",
  bad: "bg-bad",
  run: "bg-accent",
  idle: "bg-ink-3",
};

export interface BadgeProps {
  tone: Tone;
  children: ReactNode;
  icon?: Icon;
  title?: string | undefined;
  /** A dot that breathes, for what is going on now. */
  live?: boolean;
  className?: string;
}

/** A state in a word. The word says it; the colour only helps. */
export function Badge({ tone, children, icon: IconComponent, title, live, className }: BadgeProps) {
  return (
    <span
      title={title}
      className={cx(
        "inline-flex h-5 w-fit max-w-full items-center gap-1 whitespace-nowrap rounded px-1.5 text-xs font-medium",
        TONES[tone],
        className,
      )}
    >
      {live && <span className={cx("size-1.5 flex-none animate-pulse rounded-full", DOTS[tone])} />}
      {IconComponent && <IconComponent className="size-3.5 flex-none" aria-hidden />}
      <span className="truncate">{children}</span>
    </span>
  );
}

/** A state as a dot and a word, quieter than a badge: for columns where most rows are alike. */
export function Status({
  tone,
  children,
  title,
}: {
  tone: Tone;
  children: ReactNode;
  title?: string | undefined;
}) {
  return (
    <span className="inline-flex max-w-full items-center gap-1.5 whitespace-nowrap" title={title}>
      <span className={cx("size-2 flex-none rounded-full", DOTS[tone])} aria-hidden />
      <span className="truncate">{children}</span>
    </span>
  );
}

export function Tag({ children, onRemove }: { children: string; onRemove?: () => void }) {
  return (
    <span className="inline-flex h-5 max-w-40 items-center gap-1 rounded border border-line bg-surface px-1.5 text-xs text-ink-2">
      <span className="truncate" title={children}>
        {children}
      </span>
      {onRemove && (
        <button
          type="button"
          aria-label={`Remove ${children}`}
          className="text-ink-3 hover:text-ink"
          onClick={onRemove}
        >
          ×
        </button>
      )}
    </span>
  );
}

import type { ReactNode } from "react";
import { HiOutlineExclamation, HiOutlineFilter, HiOutlineInbox } from "react-icons/hi";
import { Button, type Icon } from "./button";
import { cx } from "./class-names";

export function Skeleton({ className }: { className?: string }) {
  return <span className={cx("skeleton block", className)} aria-hidden />;
}

/** 1 … `length`, to draw as many placeholders. */
export function placeholders(length: number): number[] {
  return Array.from({ length }, (_, place) => place + 1);
}

/** Lines of placeholder text for a loading panel; says so to screen readers. */
export function SkeletonLines({
  lines = 4,
  label = "Loading",
}: {
  lines?: number;
  label?: string;
}) {
  return (
    <div role="status" aria-label={label} className="flex flex-col gap-3 py-1">
      {placeholders(lines).map((line) => (
        <Skeleton
          key={line}
          className={cx("h-3.5", line % 3 === 0 ? "w-3/4" : line % 3 === 1 ? "w-1/2" : "w-2/3")}
        />
      ))}
    </div>
  );
}

interface StateProps {
  icon?: Icon;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  tone?: "calm" | "bad";
  compact?: boolean;
}

function State({
  icon: IconComponent,
  title,
  children,
  action,
  tone = "calm",
  compact,
}: StateProps) {
  return (
    <div
      className={cx(
        "flex flex-col items-center justify-center text-center",
        compact ? "px-4 py-6" : "px-6 py-14",
      )}
    >
      {IconComponent && (
        <span
          className={cx(
            "mb-3 flex size-10 items-center justify-center rounded-lg",
            tone === "bad" ? "bg-bad-soft text-bad" : "bg-sunken text-ink-3",
          )}
        >
          <IconComponent className="size-5" aria-hidden />
        </span>
      )}
      <p className="text-base font-medium text-ink">{title}</p>
      {children && <div className="mt-1 max-w-md text-sm text-balance text-ink-3">{children}</div>}
      {action && <div className="mt-4 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  );
}

/** Nothing is there yet: says what would be, and how to get it. */
export function EmptyState(props: Omit<StateProps, "tone">) {
  return <State icon={HiOutlineInbox} {...props} />;
}

/** Something is there, but not for these filters. */
export function FilteredEmptyState({
  what,
  onClear,
  compact,
}: {
  what: string;
  onClear: () => void;
  compact?: boolean;
}) {
  return (
    <State
      icon={HiOutlineFilter}
      title={`No ${what} match these filters`}
      compact={compact ?? false}
      action={
        <Button onClick={onClear} variant="secondary">
          Clear filters
        </Button>
      }
    />
  );
}

export interface Failure {
  title: string;
  detail: string;
  code?: string;
}

/** What to search the documents and logs for. */
export function ErrorCode({ code }: { code: string }) {
  return (
    <p className="mt-1.5 text-2xs text-ink-3">
      Error code <span className="font-mono">{code}</span>
    </p>
  );
}

/** It did not work: what happened, what to do next. */
export function ErrorState({
  failure,
  onRetry,
  compact,
}: {
  failure: Failure;
  onRetry?: () => void;
  compact?: boolean;
}) {
  return (
    <div role="alert">
      <State
        icon={HiOutlineExclamation}
        tone="bad"
        title={failure.title}
        compact={compact ?? false}
        action={onRetry && <Button onClick={onRetry}>Try again</Button>}
      >
        {failure.detail}
        {failure.code && <ErrorCode code={failure.code} />}
      </State>
    </div>
  );
}

/** A message in the flow of a page or form. */
export function Notice({
  tone,
  title,
  children,
  action,
  icon: IconComponent,
  className,
}: {
  tone: "info" | "ok" | "warn" | "bad";
  title?: ReactNode;
  children?: ReactNode;
  action?: ReactNode;
  icon?: Icon;
  className?: string;
}) {
  const tones = {
    info: "bg-accent-soft text-accent",
    ok: "bg-ok-soft text-ok",
    warn: "bg-warn-soft text-warn",
    bad: "bg-bad-soft text-bad",
  };
  return (
    <div
      role={tone === "bad" ? "alert" : "status"}
      className={cx(
        "flex items-start gap-2.5 rounded-md px-3 py-2.5 text-sm",
        tones[tone],
        className,
      )}
    >
      {IconComponent && <IconComponent className="mt-0.5 size-4 flex-none" aria-hidden />}
      <div className="min-w-0 flex-1">
        {title && <p className="font-medium">{title}</p>}
        {children && (
          <div className={cx("break-words", title ? "mt-0.5 text-ink-2" : "")}>{children}</div>
        )}
      </div>
      {action}
    </div>
  );
}

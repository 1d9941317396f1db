import { Card as FlowbiteCard } from "flowbite-react";
import Link from "next/link";
import type { ReactNode } from "react";
import { cx } from "./class-names";
import { Skeleton } from "./states";

export interface CardProps {
  title?: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  /** Without inner padding: for tables and lists that reach the edge. */
  flush?: boolean;
  className?: string;
}

export function Card({ title, description, actions, children, flush, className }: CardProps) {
  return (
    <FlowbiteCard className={className}>
      {(title || actions) && (
        <div
          className={cx(
            "flex min-h-12 flex-wrap items-center gap-x-3 gap-y-2 px-4 py-2",
            flush && "border-b border-line",
          )}
        >
          <div className="min-w-0 flex-1 basis-44">
            <h2 className="truncate text-base font-semibold text-ink">{title}</h2>
            {description && <p className="text-xs text-ink-3">{description}</p>}
          </div>
          {actions && (
            <div className="flex max-w-full flex-none flex-wrap items-center gap-1.5">
              {actions}
            </div>
          )}
        </div>
      )}
      <div
        className={cx(
          "min-w-0 flex-1",
          !flush && "px-4 pb-4",
          !flush && !title && !actions && "pt-4",
        )}
      >
        {children}
      </div>
    </FlowbiteCard>
  );
}

export interface StatCardProps {
  title: string;
  /** Undefined while it loads; null when it was not measured. */
  value: ReactNode | null | undefined;
  detail?: ReactNode;
  /** The exact value, on hover. */
  exact?: string | undefined;
  href?: string;
}

export function StatCard({ title, value, detail, exact, href }: StatCardProps) {
  const body = (
    <FlowbiteCard
      className={cx("h-full", href && "transition-colors group-hover:border-line-strong")}
    >
      <div className="px-4 py-3.5">
        <h2 className="text-xs font-medium text-ink-3">{title}</h2>
        <div
          className="mt-1 flex h-8 items-center text-2xl font-semibold tracking-tight tabular-nums text-ink"
          title={exact}
        >
          {value === undefined ? (
            <Skeleton className="h-6 w-20" />
          ) : value === null ? (
            <span className="text-ink-3" title="Not measured yet">
              –
            </span>
          ) : (
            value
          )}
        </div>
        <div className="mt-1 line-clamp-2 min-h-4 text-xs text-pretty text-ink-3">
          {value === undefined ? <Skeleton className="h-3 w-28" /> : detail}
        </div>
      </div>
    </FlowbiteCard>
  );
  return href ? (
    <Link href={href} className="group block rounded-lg">
      {body}
    </Link>
  ) : (
    body
  );
}

import Link from "next/link";
import type { ReactNode } from "react";
import { HiChevronRight } from "react-icons/hi";
import { cx } from "./class-names";

export interface Crumb {
  label: string;
  href?: string;
}

export function Breadcrumbs({
  crumbs,
  label = "Where this is",
  className,
}: {
  crumbs: Crumb[];
  label?: string;
  className?: string;
}) {
  return (
    <nav aria-label={label} className={cx("min-w-0", className)}>
      <ol className="flex min-w-0 flex-wrap items-center gap-1 text-xs text-ink-3">
        {crumbs.map((crumb, place) => (
          <li
            key={`${crumb.href ?? ""}${crumb.label}`}
            className="inline-flex min-w-0 items-center gap-1"
          >
            {place > 0 && <HiChevronRight className="size-3.5 flex-none" aria-hidden />}
            {crumb.href ? (
              <Link href={crumb.href} className="truncate rounded hover:text-ink hover:underline">
                {crumb.label}
              </Link>
            ) : (
              <span className="truncate text-ink-2" aria-current="page" title={crumb.label}>
                {crumb.label}
              </span>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}

/** The head of every page. The h1 takes the focus after a navigation. */
export function PageHeader({
  title,
  description,
  crumbs,
  badge,
  actions,
}: {
  title: string;
  description?: ReactNode;
  crumbs?: Crumb[];
  badge?: ReactNode;
  actions?: ReactNode;
}) {
  return (
    <header className="flex flex-wrap items-end gap-x-4 gap-y-3">
      <div className="min-w-0 flex-1 basis-60">
        {crumbs && <Breadcrumbs crumbs={crumbs} className="mb-1.5" />}
        <div className="flex min-w-0 items-center gap-2.5">
          <h1
            tabIndex={-1}
            data-page-title
            className="truncate text-xl font-semibold tracking-tight text-ink"
            title={title}
          >
            {title}
          </h1>
          {badge}
        </div>
        {description && <p className="mt-0.5 text-sm text-ink-3">{description}</p>}
      </div>
      {actions && (
        <div className="flex max-w-full flex-none flex-wrap items-center gap-2">{actions}</div>
      )}
    </header>
  );
}

/** The usual frame of a page's content. */
export function Page({ children, narrow }: { children: ReactNode; narrow?: boolean }) {
  return (
    <div
      className={cx(
        "mx-auto flex w-full flex-col gap-4 px-4 pt-5 pb-10 sm:px-6",
        narrow ? "max-w-3xl" : "max-w-[1440px]",
      )}
    >
      {children}
    </div>
  );
}

/** Search and filters above a table; wraps on a phone. */
export function Toolbar({ children }: { children: ReactNode }) {
  return (
    <div
      role="toolbar"
      aria-label="Filters"
      className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2.5"
    >
      {children}
    </div>
  );
}

/** Names and values in two columns. */
export function Facts({ items }: { items: Array<[string, ReactNode] | null> }) {
  return (
    <dl className="grid grid-cols-[minmax(6.5rem,auto)_minmax(0,1fr)] gap-x-4 gap-y-2 text-sm">
      {items.map(
        (item) =>
          item && (
            <div key={item[0]} className="contents">
              <dt className="text-ink-3">{item[0]}</dt>
              <dd className="min-w-0 break-words text-ink">{item[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

export function Kbd({ children }: { children: ReactNode }) {
  return (
    <kbd className="inline-flex h-5 min-w-5 items-center justify-center rounded border border-line bg-sunken px-1 font-sans text-2xs font-medium text-ink-2">
      {children}
    </kbd>
  );
}

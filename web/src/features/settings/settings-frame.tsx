"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";
import { type ReactNode, useEffect, useRef } from "react";
import { cx } from "@/ui/class-names";
import { Page, PageHeader } from "@/ui/page";

const PLACES = [
  ["platforms", "Platforms"],
  ["repositories", "Repositories"],
  ["users", "Users"],
  ["tokens", "Tokens"],
  ["sign-in", "Sign-in"],
  ["notifications", "Notifications"],
  ["service", "Service"],
  ["appearance", "Appearance"],
  ["account", "Your sign-in"],
  ["about", "About"],
] as const;

/** Settings have a path each; on a narrow screen the list of them scrolls sideways. */
export function SettingsFrame({
  title,
  description,
  actions,
  children,
}: {
  title: string;
  description?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const here = usePathname().split("/").at(-1);
  const list = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another place, another one in sight
  useEffect(() => {
    const shown = list.current?.querySelector<HTMLElement>("[aria-current]");
    if (list.current && shown)
      list.current.scrollLeft =
        shown.offsetLeft - (list.current.clientWidth - shown.offsetWidth) / 2;
  }, [here]);
  return (
    <Page>
      <nav
        ref={list}
        aria-label="Settings"
        className="scroll-thin relative -mx-4 overflow-x-auto border-b border-line px-4 sm:-mx-6 sm:px-6"
      >
        <ul className="flex gap-1">
          {PLACES.map(([key, label]) => (
            <li key={key} className="flex-none">
              <Link
                href={`/settings/${key}`}
                aria-current={key === here ? "page" : undefined}
                className={cx(
                  "-mb-px inline-flex h-9 items-center border-b-2 px-2.5 text-sm font-medium outline-offset-[-2px] transition-colors",
                  key === here
                    ? "border-accent text-ink"
                    : "border-transparent text-ink-3 hover:text-ink",
                )}
              >
                {label}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <PageHeader title={title} description={description} actions={actions} />
      {children}
    </Page>
  );
}

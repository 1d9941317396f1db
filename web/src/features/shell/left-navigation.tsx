"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";
import { HiChevronDoubleLeft, HiChevronDoubleRight, HiSearch } from "react-icons/hi";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Mark } from "@/ui/mark";
import { Kbd } from "@/ui/page";
import { SECTIONS, sectionOf } from "./sections";
import { UserMenu } from "./user-menu";

export interface LeftNavigationProps {
  collapsed: boolean;
  /** Left out in the drawer, which cannot fold. */
  onCollapse?: () => void;
  onSearch: () => void;
  /** Called when a section was chosen: the drawer closes. */
  onNavigate?: () => void;
  selectedVm: string | null;
}

export function LeftNavigation({
  collapsed,
  onCollapse,
  onSearch,
  onNavigate,
  selectedVm,
}: LeftNavigationProps) {
  const current = sectionOf(usePathname());
  return (
    <div className="flex h-full flex-col">
      <div
        className={cx(
          "flex h-14 flex-none items-center gap-2.5",
          collapsed ? "justify-center" : "px-4",
        )}
      >
        <Link
          href="/"
          className="flex items-center gap-2.5 rounded-md"
          aria-label="Holdfast, to the dashboard"
          onClick={onNavigate}
        >
          <Mark className="size-7 flex-none" />
          {!collapsed && <span className="text-lg font-semibold tracking-tight">Holdfast</span>}
        </Link>
      </div>
      <div className={cx("flex-none pb-2", collapsed ? "px-2.5" : "px-3")}>
        <button
          type="button"
          onClick={onSearch}
          aria-label={collapsed ? "Search and commands" : undefined}
          title="Search and commands"
          className={cx(
            "flex h-8 items-center rounded-md border border-line bg-canvas text-ink-3 hover:border-line-strong hover:text-ink-2",
            collapsed ? "w-9 justify-center" : "w-full gap-2 px-2.5",
          )}
        >
          <HiSearch className="size-4 flex-none" aria-hidden />
          {!collapsed && (
            <>
              <span className="flex-1 text-left">Search</span>
              <Kbd>Ctrl K</Kbd>
            </>
          )}
        </button>
      </div>
      <nav
        aria-label="Sections"
        className={cx("scroll-thin flex-1 overflow-y-auto", collapsed ? "px-2.5" : "px-3")}
      >
        <ul className="flex flex-col gap-0.5">
          {SECTIONS.map((section) => {
            const active = section.id === current?.id;
            return (
              <li key={section.id}>
                <Link
                  href={
                    selectedVm
                      ? `${section.href}?vm=${encodeURIComponent(selectedVm)}`
                      : section.href
                  }
                  aria-current={active ? "page" : undefined}
                  aria-label={collapsed ? section.label : undefined}
                  title={collapsed ? section.label : section.description}
                  onClick={onNavigate}
                  className={cx(
                    "flex h-9 items-center rounded-md font-medium transition-colors",
                    collapsed ? "w-9 justify-center" : "gap-2.5 px-2.5",
                    active
                      ? "bg-accent-soft text-accent"
                      : "text-ink-2 hover:bg-hover hover:text-ink",
                  )}
                >
                  <section.icon className="size-[18px] flex-none" aria-hidden />
                  {!collapsed && section.label}
                </Link>
              </li>
            );
          })}
        </ul>
      </nav>
      <div
        className={cx(
          "flex flex-none items-center gap-1 border-t border-line py-2",
          collapsed ? "flex-col px-2.5" : "px-3",
        )}
      >
        <UserMenu compact={collapsed} />
        {onCollapse && (
          <IconButton
            icon={collapsed ? HiChevronDoubleRight : HiChevronDoubleLeft}
            label={collapsed ? "Unfold the navigation" : "Fold the navigation"}
            onClick={onCollapse}
          />
        )}
      </div>
    </div>
  );
}

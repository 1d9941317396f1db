"use client";

import { HiChevronLeft, HiChevronRight } from "react-icons/hi";
import { IconButton } from "./button";
import { count } from "./format";

export interface PagerProps {
  /** Index of the page, from 0. */
  page: number;
  pageSize: number;
  shown: number;
  total: number | undefined;
  hasNext: boolean;
  onPrevious: () => void;
  onNext: () => void;
}

export function Pager({ page, pageSize, shown, total, hasNext, onPrevious, onNext }: PagerProps) {
  if (total === undefined || (total <= pageSize && page === 0)) {
    return total ? (
      <p className="px-4 py-2.5 text-xs tabular-nums text-ink-3">{count(total)} in all</p>
    ) : null;
  }
  const first = page * pageSize + 1;
  return (
    <nav
      aria-label="Pages"
      className="flex items-center justify-end gap-1 px-4 py-1.5 text-xs text-ink-3"
    >
      <span className="mr-2 tabular-nums">
        {count(first)}–{count(first + shown - 1)} of {count(total)}
      </span>
      <IconButton
        icon={HiChevronLeft}
        label="Previous page"
        onClick={onPrevious}
        disabledReason={page === 0 ? "this is the first" : null}
      />
      <IconButton
        icon={HiChevronRight}
        label="Next page"
        onClick={onNext}
        disabledReason={hasNext ? null : "this is the last"}
      />
    </nav>
  );
}

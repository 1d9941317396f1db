"use client";

import {
  type KeyboardEvent,
  memo,
  type ReactNode,
  useCallback,
  useLayoutEffect,
  useRef,
} from "react";
import { HiArrowSmDown, HiArrowSmUp } from "react-icons/hi";
import { cx } from "./class-names";
import {
  EmptyState,
  ErrorState,
  type Failure,
  FilteredEmptyState,
  placeholders,
  Skeleton,
} from "./states";

export interface Column<Row> {
  key: string;
  title: string;
  cell: (row: Row) => ReactNode;
  /** Name of the order on the server; makes the heading a button. */
  sort?: string;
  align?: "left" | "right";
  /** Tailwind width, e.g. `w-40`; the widest column goes without. */
  width?: string;
  /** Hidden while the table is narrower than 28, 42, 56 or 72 rem: panels beside it count. */
  from?: "sm" | "md" | "lg" | "xl";
  /** Shown to screen readers only. */
  hideTitle?: boolean;
}

/** The column at the right with what can be done with a row; it takes a width and a cell. */
export const ACTIONS = {
  key: "actions",
  title: "Actions",
  hideTitle: true,
  align: "right",
} as const;

export interface Sort {
  by: string;
  descending: boolean;
}

export interface Selection {
  keys: ReadonlySet<string>;
  onChange: (keys: ReadonlySet<string>) => void;
  /** Why a row cannot be chosen; null when it can. */
  disabledReason?: (key: string) => string | null;
}

export interface DataTableProps<Row> {
  /** What the rows are, for the states and for screen readers: `virtual machines`. */
  what: string;
  columns: Column<Row>[];
  /** Undefined while the first page loads. */
  rows: Row[] | undefined;
  rowKey: (row: Row) => string;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  /** Click or Enter on a row. */
  onOpen?: (row: Row) => void;
  /** The row that the context panel shows. */
  currentKey?: string | null;
  selection?: Selection;
  failure?: Failure | null;
  onRetry?: () => void;
  filtered?: boolean;
  onClearFilters?: () => void;
  empty?: { title: string; text?: ReactNode; action?: ReactNode };
  /** The rows shown are from before; new ones are on their way. */
  refreshing?: boolean;
  skeletonRows?: number;
  /** Two-line rows. */
  tall?: boolean;
}

const FROM = {
  sm: "hidden @md:table-cell",
  md: "hidden @2xl:table-cell",
  lg: "hidden @4xl:table-cell",
  xl: "hidden @6xl:table-cell",
} as const;

/** A table over one page of a list. Sorting, filtering and paging happen on the server. */
export function DataTable<Row>(props: DataTableProps<Row>) {
  const { what, columns, rows, failure, selection } = props;
  if (failure && !rows) {
    return <ErrorState failure={failure} {...(props.onRetry ? { onRetry: props.onRetry } : {})} />;
  }
  if (rows?.length === 0) {
    return props.filtered && props.onClearFilters ? (
      <FilteredEmptyState what={what} onClear={props.onClearFilters} />
    ) : (
      <EmptyState title={props.empty?.title ?? `No ${what} yet`} action={props.empty?.action}>
        {props.empty?.text}
      </EmptyState>
    );
  }
  return (
    <div className="scroll-thin @container relative overflow-x-auto last:[&_tbody_tr:last-child>td]:border-b-0">
      {props.refreshing && (
        <span
          className="absolute inset-x-0 top-0 z-20 h-0.5 overflow-hidden"
          role="status"
          aria-label="Loading"
        >
          <span className="block h-full w-1/4 animate-[indeterminate_1.2s_linear_infinite] bg-accent-solid" />
        </span>
      )}
      <table
        className="w-full table-fixed border-separate border-spacing-0 text-left text-sm"
        aria-label={what}
        aria-busy={!rows}
      >
        <thead className="text-xs text-ink-3">
          <tr>
            {selection && rows && (
              <th className="h-9 w-10 border-b border-line pl-4">
                <SelectAll rows={rows.map(props.rowKey)} selection={selection} what={what} />
              </th>
            )}
            {selection && !rows && (
              <th className="h-9 w-10 border-b border-line" aria-label="Choose" />
            )}
            {columns.map((column) => (
              <HeadCell key={column.key} column={column} sort={props.sort} onSort={props.onSort} />
            ))}
          </tr>
        </thead>
        <tbody className={cx(props.refreshing && "opacity-70 transition-opacity")}>
          {rows ? (
            <BodyRows rows={rows} table={props} />
          ) : (
            placeholders(props.skeletonRows ?? 8).map((line) => (
              <tr key={line}>
                {selection && <td className="border-b border-line" />}
                {columns.map((column) => (
                  <td
                    key={column.key}
                    className={cx(
                      "h-11 border-b border-line px-3",
                      column.from && FROM[column.from],
                    )}
                  >
                    <Skeleton
                      className={cx(
                        "h-3",
                        line % 3 === 0 ? "w-3/4" : line % 3 === 1 ? "w-1/2" : "w-2/3",
                      )}
                    />
                  </td>
                ))}
              </tr>
            ))
          )}
        </tbody>
      </table>
    </div>
  );
}

function HeadCell<Row>({
  column,
  sort,
  onSort,
}: {
  column: Column<Row>;
  sort: Sort | undefined;
  onSort: ((sort: Sort) => void) | undefined;
}) {
  const active = column.sort !== undefined && sort?.by === column.sort;
  const Arrow = active && sort.descending ? HiArrowSmDown : HiArrowSmUp;
  return (
    <th
      scope="col"
      aria-sort={active ? (sort.descending ? "descending" : "ascending") : undefined}
      className={cx(
        "h-9 whitespace-nowrap border-b border-line px-3 font-medium first:pl-4 last:pr-4",
        column.align === "right" && "text-right",
        column.width,
        column.from && FROM[column.from],
      )}
    >
      {column.sort && onSort ? (
        <button
          type="button"
          className={cx(
            "group inline-flex items-center gap-0.5 rounded align-middle hover:text-ink",
            active && "text-ink",
            column.align === "right" && "flex-row-reverse",
          )}
          onClick={() =>
            onSort({ by: column.sort ?? "", descending: active ? !sort.descending : false })
          }
        >
          {column.title}
          <Arrow
            className={cx(
              "size-4",
              active ? "" : "opacity-0 group-hover:opacity-60 group-focus-visible:opacity-60",
            )}
            aria-hidden
          />
        </button>
      ) : (
        <span className={cx(column.hideTitle && "sr-only")}>{column.title}</span>
      )}
    </th>
  );
}

/** Rows whose data did not change are not drawn again, as long as the columns stay the same. */
function BodyRows<Row>({ rows, table }: { rows: Row[]; table: DataTableProps<Row> }) {
  const latest = useRef(table);
  useLayoutEffect(() => {
    latest.current = table;
  });
  const open = useCallback((row: Row) => latest.current.onOpen?.(row), []);
  const choose = useCallback((key: string, wanted: boolean) => {
    const { selection } = latest.current;
    if (!selection) return;
    const keys = new Set(selection.keys);
    if (wanted) keys.add(key);
    else keys.delete(key);
    selection.onChange(keys);
  }, []);
  const { selection } = table;
  return rows.map((row) => {
    const key = table.rowKey(row);
    return (
      <BodyRow
        key={key}
        row={row}
        name={key}
        columns={table.columns}
        tall={table.tall ?? false}
        current={table.currentKey === key}
        selectable={selection !== undefined}
        chosen={selection?.keys.has(key) ?? false}
        reason={selection?.disabledReason?.(key) ?? null}
        onOpen={table.onOpen ? open : null}
        onChoose={choose}
      />
    );
  });
}

interface BodyRowProps<Row> {
  row: Row;
  name: string;
  columns: Column<Row>[];
  tall: boolean;
  current: boolean;
  selectable: boolean;
  chosen: boolean;
  /** Why it cannot be chosen. */
  reason: string | null;
  onOpen: ((row: Row) => void) | null;
  onChoose: (key: string, wanted: boolean) => void;
}

const BodyRow = memo(function BodyRow<Row>(props: BodyRowProps<Row>) {
  const { row, name, onOpen, current, chosen, reason } = props;
  return (
    <tr
      className={cx(
        "group/row",
        onOpen && "cursor-pointer",
        current || chosen ? "bg-accent-soft/60" : "hover:bg-hover",
      )}
      aria-current={current || undefined}
      tabIndex={onOpen ? 0 : undefined}
      onClick={(event) => {
        if (onOpen && !isControl(event.target)) onOpen(row);
      }}
      onKeyDown={(event) => onRowKey(event, () => onOpen?.(row))}
    >
      {props.selectable && (
        <td className="border-b border-line pl-4">
          <input
            type="checkbox"
            className="check block"
            aria-label={`Choose ${name}`}
            title={reason ?? undefined}
            disabled={reason !== null}
            checked={chosen}
            onChange={(event) => props.onChoose(name, event.target.checked)}
          />
        </td>
      )}
      {props.columns.map((column) => (
        <td
          key={column.key}
          className={cx(
            "overflow-hidden text-ellipsis border-b border-line px-3 first:pl-4 last:pr-4",
            props.tall ? "h-14" : "h-11",
            column.align === "right" && "text-right",
            column.from && FROM[column.from],
          )}
        >
          {column.cell(row)}
        </td>
      ))}
    </tr>
  );
}) as <Row>(props: BodyRowProps<Row>) => ReactNode;

function SelectAll({
  rows,
  selection,
  what,
}: {
  rows: string[];
  selection: Selection;
  what: string;
}) {
  const able = rows.filter((key) => !selection.disabledReason?.(key));
  const chosen = able.filter((key) => selection.keys.has(key)).length;
  return (
    <input
      type="checkbox"
      className="check block"
      aria-label={`Choose all ${what} of this page`}
      disabled={able.length === 0}
      checked={able.length > 0 && chosen === able.length}
      ref={(box) => {
        if (box) box.indeterminate = chosen > 0 && chosen < able.length;
      }}
      onChange={(event) => {
        const keys = new Set(selection.keys);
        for (const key of able) {
          if (event.target.checked) keys.add(key);
          else keys.delete(key);
        }
        selection.onChange(keys);
      }}
    />
  );
}

function isControl(target: EventTarget): boolean {
  return (
    target instanceof Element &&
    target.closest("a, button, input, select, textarea, label, [role=menu]") !== null
  );
}

function onRowKey(event: KeyboardEvent<HTMLTableRowElement>, open: () => void) {
  if (event.target !== event.currentTarget) return;
  const row = event.currentTarget;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open();
  } else if (event.key === "ArrowDown" || event.key === "j") {
    event.preventDefault();
    (row.nextElementSibling as HTMLElement | null)?.focus();
  } else if (event.key === "ArrowUp" || event.key === "k") {
    event.preventDefault();
    (row.previousElementSibling as HTMLElement | null)?.focus();
  }
}

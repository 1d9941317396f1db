import type { Tone } from "./badge";
import { cx } from "./class-names";
import { percent } from "./format";

const BARS: Record<Tone, string> = {
  run: "bg-accent-solid",
  ok: "bg-ok-solid",
  bad: "bg-bad-solid",
  warn: "bg-warn-solid",
  idle: "bg-line-strong",
};

export interface ProgressProps {
  /** 0 to 100; null when nobody knows how far it is. */
  value: number | null;
  label: string;
  tone?: Tone;
  size?: "sm" | "md" | "lg";
  /** Shows the number beside the bar. */
  number?: boolean;
  className?: string;
}

export function Progress({
  value,
  label,
  tone = "run",
  size = "md",
  number,
  className,
}: ProgressProps) {
  const height = size === "sm" ? "h-1" : size === "md" ? "h-1.5" : "h-2.5";
  return (
    <span className={cx("flex min-w-0 items-center gap-2", className)}>
      <span
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={value === null ? undefined : Math.round(value)}
        className={cx("block min-w-8 flex-1 overflow-hidden rounded-full bg-line", height)}
      >
        {value === null ? (
          <span
            className={cx(
              "block h-full w-1/4 animate-[indeterminate_1.4s_linear_infinite] rounded-full",
              BARS[tone],
            )}
          />
        ) : (
          <span
            className={cx(
              "block h-full rounded-full transition-[width] duration-300 ease-out",
              BARS[tone],
            )}
            style={{ width: `${Math.min(100, Math.max(0, value))}%` }}
          />
        )}
      </span>
      {number && (
        <span className="w-10 flex-none text-right text-xs tabular-nums text-ink-2">
          {value === null ? "" : percent(value)}
        </span>
      )}
    </span>
  );
}

export interface Part {
  name: string;
  value: number;
  className: string;
  title?: string;
}

/** Shares of a whole in one bar with its legend. */
export function PartsBar({ parts, label }: { parts: Part[]; label: string }) {
  const total = parts.reduce((sum, part) => sum + part.value, 0) || 1;
  const some = parts.filter((part) => part.value > 0);
  return (
    <div>
      <div
        role="img"
        aria-label={`${label}: ${parts.map((part) => `${part.name} ${Math.round((100 * part.value) / total)}%`).join(", ")}`}
        className="flex h-2 gap-px overflow-hidden rounded-full bg-sunken"
      >
        {some.map((part) => (
          <span
            key={part.name}
            className={part.className}
            style={{ width: `${(100 * part.value) / total}%` }}
            title={part.title}
          />
        ))}
      </div>
      <ul className="mt-2 flex flex-wrap gap-x-4 gap-y-1 text-xs text-ink-2">
        {parts.map((part) => (
          <li key={part.name} className="inline-flex items-center gap-1.5" title={part.title}>
            <span className={cx("size-2 rounded-sm", part.className)} aria-hidden />
            {part.name}{" "}
            <span className="tabular-nums text-ink">{Math.round((100 * part.value) / total)}%</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

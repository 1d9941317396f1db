"use client";

import { Label, TextInput } from "flowbite-react";
import { useId } from "react";
import { cx } from "./class-names";

/** A number in a list of settings: what it says at the left, the value and its unit at the right. */
export function NumberRow({
  label,
  unit,
  value,
  onChange,
  error,
  narrow,
}: {
  label: string;
  unit: string;
  value: string;
  onChange: (value: string) => void;
  error: string | null;
  /** In a dialog: the value has no more room than it needs. */
  narrow?: boolean;
}) {
  const id = useId();
  return (
    <div
      className={cx(
        "grid content-start items-center gap-x-4 gap-y-1.5 border-b border-line py-2.5",
        narrow ? "grid-cols-[minmax(0,1fr)_9.5rem]" : "sm:grid-cols-[minmax(0,1fr)_15rem]",
      )}
    >
      <Label htmlFor={id} className="font-normal">
        {label}
      </Label>
      <div className="flex items-center gap-2.5">
        <TextInput
          id={id}
          value={value}
          inputMode="numeric"
          color={error ? "failure" : "gray"}
          aria-invalid={error ? true : undefined}
          aria-describedby={`${id}-unit ${id}-note`}
          className={cx("flex-none tabular-nums", narrow ? "w-20" : "w-24")}
          onChange={(event) => onChange(event.target.value)}
        />
        <span id={`${id}-unit`} className="text-sm text-ink-3">
          {unit}
        </span>
      </div>
      <p
        id={`${id}-note`}
        role={error ? "alert" : undefined}
        className={cx("text-xs text-bad empty:hidden", narrow ? "col-span-2" : "sm:col-start-2")}
      >
        {error}
      </p>
    </div>
  );
}

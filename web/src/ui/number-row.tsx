"use client";

import { Label, TextInput } from "flowbite-react";
import { useId } from "react";

/** A number in a list of settings: what it says at the left, the value and its unit at the right. */
export function NumberRow({
  label,
  unit,
  value,
  onChange,
  error,
}: {
  label: string;
  unit: string;
  value: string;
  onChange: (value: string) => void;
  error: string | null;
}) {
  const id = useId();
  return (
    <div className="grid items-center gap-x-4 gap-y-1.5 border-b border-line py-2.5 sm:grid-cols-[minmax(0,1fr)_15rem]">
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
          className="w-24 flex-none tabular-nums"
          onChange={(event) => onChange(event.target.value)}
        />
        <span id={`${id}-unit`} className="text-sm text-ink-3">
          {unit}
        </span>
      </div>
      <p
        id={`${id}-note`}
        role={error ? "alert" : undefined}
        className="text-xs text-bad empty:hidden sm:col-start-2"
      >
        {error}
      </p>
    </div>
  );
}

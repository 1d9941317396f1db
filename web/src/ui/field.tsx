"use client";

import { Label, Select, Textarea, TextInput, ToggleSwitch } from "flowbite-react";
import { type ReactNode, useId, useState } from "react";
import { HiChevronDown, HiEye, HiEyeOff, HiSearch, HiX } from "react-icons/hi";
import { cx } from "./class-names";

interface Common {
  label: string;
  hint?: ReactNode;
  /** What is wrong with the value; shown beneath and announced. */
  error?: string | null | undefined;
  disabled?: boolean;
  optional?: boolean;
}

function Frame({
  id,
  label,
  hint,
  error,
  optional,
  children,
}: Common & { id: string; children: ReactNode }) {
  return (
    <div className="flex min-w-0 flex-col gap-1.5">
      <Label htmlFor={id}>
        {label}
        {optional && <span className="ml-1.5 text-xs font-normal text-ink-3">optional</span>}
      </Label>
      {children}
      {error ? (
        <p id={`${id}-note`} className="text-xs text-bad" role="alert">
          {error}
        </p>
      ) : (
        hint && (
          <p id={`${id}-note`} className="text-xs text-ink-3">
            {hint}
          </p>
        )
      )}
    </div>
  );
}

/** Ties an input to the note below it. */
function noted(id: string, error: Common["error"], hint: Common["hint"]) {
  return {
    color: error ? "failure" : "gray",
    "aria-invalid": error ? true : undefined,
    "aria-describedby": error || hint ? `${id}-note` : undefined,
  };
}

export interface TextFieldProps extends Common {
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  type?: "text" | "password" | "number" | "url";
  autoComplete?: string;
  autoFocus?: boolean;
  inputMode?: "numeric" | "text";
  maxLength?: number;
  mono?: boolean;
  min?: number;
  max?: number;
}

export function TextField({ value, onChange, mono, type = "text", ...props }: TextFieldProps) {
  const id = useId();
  const { label, hint, error, optional, ...input } = props;
  return (
    <Frame id={id} label={label} hint={hint} error={error} optional={optional ?? false}>
      <TextInput
        id={id}
        type={type}
        value={value}
        {...noted(id, error, hint)}
        className={mono ? "font-mono" : ""}
        onChange={(event) => onChange(event.target.value)}
        {...input}
      />
    </Frame>
  );
}

/** A password or key: hidden, to be shown on demand, never filled in by us. */
export function SecretField({ autoComplete = "off", ...props }: Omit<TextFieldProps, "type">) {
  const [shown, setShown] = useState(false);
  return (
    <div className="relative">
      <TextField {...props} type={shown ? "text" : "password"} autoComplete={autoComplete} />
      <button
        type="button"
        className="absolute top-[26px] right-0 flex size-9 items-center justify-center rounded-md text-ink-3 hover:text-ink"
        aria-label={shown ? `Hide ${props.label}` : `Show ${props.label}`}
        aria-pressed={shown}
        onClick={() => setShown(!shown)}
      >
        {shown ? (
          <HiEyeOff className="size-4" aria-hidden />
        ) : (
          <HiEye className="size-4" aria-hidden />
        )}
      </button>
    </div>
  );
}

export function TextAreaField({
  value,
  onChange,
  rows = 3,
  mono,
  ...props
}: Common & {
  value: string;
  onChange: (value: string) => void;
  rows?: number;
  mono?: boolean;
  placeholder?: string;
}) {
  const id = useId();
  const { label, hint, error, optional, ...input } = props;
  return (
    <Frame id={id} label={label} hint={hint} error={error} optional={optional ?? false}>
      <Textarea
        id={id}
        rows={rows}
        value={value}
        {...noted(id, error, hint)}
        className={mono ? "font-mono" : ""}
        onChange={(event) => onChange(event.target.value)}
        {...input}
      />
    </Frame>
  );
}

export interface Option {
  value: string;
  label: string;
  disabled?: boolean;
}

export function SelectField({
  value,
  onChange,
  options,
  placeholder,
  ...props
}: Common & {
  value: string;
  onChange: (value: string) => void;
  options: Option[];
  placeholder?: string;
}) {
  const id = useId();
  const { label, hint, error, optional, disabled } = props;
  return (
    <Frame id={id} label={label} hint={hint} error={error} optional={optional ?? false}>
      <div className="relative">
        <Select
          id={id}
          value={value}
          disabled={disabled}
          {...noted(id, error, hint)}
          onChange={(event) => onChange(event.target.value)}
        >
          {placeholder !== undefined && (
            <option value="" disabled>
              {placeholder}
            </option>
          )}
          {options.map((option) => (
            <option key={option.value} value={option.value} disabled={option.disabled}>
              {option.label}
            </option>
          ))}
        </Select>
        <HiChevronDown
          className="pointer-events-none absolute top-1/2 right-2.5 size-4 -translate-y-1/2 text-ink-3"
          aria-hidden
        />
      </div>
    </Frame>
  );
}

export function CheckField({
  label,
  hint,
  checked,
  onChange,
  disabled,
  disabledReason,
}: {
  label: string;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
  disabledReason?: string;
}) {
  return (
    <label
      className={cx(
        "flex items-start gap-2.5 text-sm",
        disabled && "cursor-not-allowed opacity-60",
      )}
      title={disabled ? disabledReason : undefined}
    >
      <input
        type="checkbox"
        className="check mt-0.5"
        checked={checked}
        disabled={disabled}
        onChange={(event) => onChange(event.target.checked)}
      />
      <span>
        <span className="text-ink">{label}</span>
        {hint && <span className="block text-xs text-ink-3">{hint}</span>}
      </span>
    </label>
  );
}

/** One of a few, each with its explanation. */
export function ChoiceField<Value extends string>({
  label,
  value,
  onChange,
  options,
}: {
  label: string;
  value: Value;
  onChange: (value: Value) => void;
  options: Array<{
    value: Value;
    label: string;
    hint?: ReactNode;
    disabledReason?: string | null | undefined;
  }>;
}) {
  const id = useId();
  return (
    <fieldset className="min-w-0">
      <legend className="mb-1.5 text-sm font-medium text-ink">{label}</legend>
      <div className={cx("grid gap-2", options.length === 3 ? "sm:grid-cols-3" : "sm:grid-cols-2")}>
        {options.map((option) => (
          <label
            key={option.value}
            title={option.disabledReason ?? undefined}
            className={cx(
              "flex items-start gap-2.5 rounded-md border px-3 py-2.5 text-sm",
              option.value === value ? "border-accent bg-accent-soft/50" : "border-line-strong",
              option.disabledReason ? "cursor-not-allowed opacity-60" : "cursor-pointer",
              !option.disabledReason && option.value !== value && "hover:border-ink-3",
            )}
          >
            <input
              type="radio"
              name={id}
              className="check mt-0.5"
              checked={option.value === value}
              disabled={Boolean(option.disabledReason)}
              onChange={() => onChange(option.value)}
            />
            <span className="min-w-0">
              <span className="font-medium text-ink">{option.label}</span>
              {option.hint && <span className="block text-xs text-ink-3">{option.hint}</span>}
            </span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** Takes effect at once; for settings that are saved with a form use CheckField. */
export function SwitchField({
  label,
  checked,
  onChange,
  disabled,
}: {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
  disabled?: boolean;
}) {
  return (
    <ToggleSwitch
      label={label}
      checked={checked}
      onChange={onChange}
      disabled={disabled ?? false}
    />
  );
}

export function SearchField({
  value,
  onChange,
  label,
  placeholder,
  className,
}: {
  value: string;
  onChange: (value: string) => void;
  label: string;
  placeholder?: string;
  className?: string;
}) {
  return (
    <div className={cx("relative min-w-0", className)}>
      <HiSearch
        className="pointer-events-none absolute top-1/2 left-2.5 size-4 -translate-y-1/2 text-ink-3"
        aria-hidden
      />
      <input
        type="search"
        data-page-search
        aria-label={label}
        placeholder={placeholder ?? label}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        className="h-8 w-full rounded-md border border-line-strong bg-surface pr-8 pl-8 text-sm text-ink placeholder:text-ink-3 hover:border-ink-3 focus:border-accent focus:outline-2 focus:outline-offset-0 focus:outline-accent/30 [&::-webkit-search-cancel-button]:hidden"
      />
      {value && (
        <button
          type="button"
          aria-label="Clear search"
          className="absolute top-0 right-0 flex size-8 items-center justify-center text-ink-3 hover:text-ink"
          onClick={() => onChange("")}
        >
          <HiX className="size-3.5" aria-hidden />
        </button>
      )}
    </div>
  );
}

/** A filter in a toolbar: says what it filters and, when set, by what. */
export function FilterSelect({
  label,
  value,
  onChange,
  options,
  required,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: Option[];
  /** One of the options always applies: there is no "all". */
  required?: boolean;
}) {
  return (
    <span className="relative inline-flex flex-none">
      <select
        aria-label={label}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        className={cx(
          "h-8 max-w-52 cursor-pointer appearance-none truncate rounded-md border bg-surface pr-7 pl-2.5 text-sm hover:border-ink-3",
          value && !required
            ? "border-accent bg-accent-soft/60 font-medium text-ink"
            : "border-line-strong text-ink-2",
        )}
      >
        {!required && <option value="">{label}: all</option>}
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
      <HiChevronDown
        className="pointer-events-none absolute top-1/2 right-2 size-3.5 -translate-y-1/2 text-ink-3"
        aria-hidden
      />
    </span>
  );
}

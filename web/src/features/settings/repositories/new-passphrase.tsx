"use client";

import { SecretField } from "@/ui/field";

export interface TypedPassphrase {
  text: string;
  again: string;
}

/** Why it cannot be used yet; null when it can. */
export function passphraseProblem({ text, again }: TypedPassphrase): string | null {
  if (!text) return "Give the passphrase";
  return text === again ? null : "Repeat the passphrase";
}

/** A passphrase that is new, so that it is typed twice. */
export function NewPassphraseFields({
  value,
  onChange,
  label,
  error,
}: {
  value: TypedPassphrase;
  onChange: (value: TypedPassphrase) => void;
  label: string;
  error: string | null | undefined;
}) {
  const differs = value.again.length > 0 && value.again !== value.text;
  return (
    <>
      <SecretField
        label={label}
        value={value.text}
        onChange={(text) => onChange({ ...value, text })}
        autoComplete="new-password"
        error={error}
        hint="Without it and without the recovery kit, nobody can read the backups"
      />
      <SecretField
        label={`${label} again`}
        value={value.again}
        onChange={(again) => onChange({ ...value, again })}
        autoComplete="new-password"
        error={differs ? "The two differ" : null}
      />
    </>
  );
}

"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useSearchParams } from "next/navigation";
import { type FormEvent, type ReactNode, useState } from "react";
import { api, failureOf, take } from "@/api-client";
import { Button } from "@/ui/button";
import { SecretField, TextField } from "@/ui/field";
import { Mark } from "@/ui/mark";
import { Notice } from "@/ui/states";
import { type Session, safeNext, sessionQuery } from "./session";

type Step = Session["state"] | "start";

/** Name and password, then the second factor or a new password where they are asked for. */
export function LoginPage() {
  const next = safeNext(useSearchParams().get("next"));
  const client = useQueryClient();
  const [step, setStep] = useState<Step>("start");
  const [password, setPassword] = useState("");
  const methods = useQuery({
    queryKey: ["sign-in-methods"],
    queryFn: () => take(api.GET("/api/v1/auth/methods")),
    staleTime: 300_000,
    meta: { signIn: true },
  });
  function go(session: Session) {
    if (session.state !== "signed_in") {
      setStep(session.state);
      return;
    }
    client.setQueryData(sessionQuery().queryKey, session);
    window.location.replace(next);
  }
  return (
    <main className="flex min-h-dvh flex-col items-center justify-center px-4 py-10">
      <div className="w-full max-w-[22rem]">
        <div className="mb-6 flex flex-col items-center gap-3">
          <Mark className="size-11" />
          <h1 className="text-xl font-semibold tracking-tight">
            {step === "second_factor_required"
              ? "Second step"
              : step === "password_change_required"
                ? "Choose a new password"
                : "Sign in to Holdfast"}
          </h1>
        </div>
        <div className="rounded-xl border border-line bg-surface p-5 shadow-card">
          {step === "second_factor_required" ? (
            <SecondFactor onDone={go} onBack={() => setStep("start")} />
          ) : step === "password_change_required" ? (
            <NewPassword current={password} onDone={go} />
          ) : (
            <NameAndPassword
              onDone={(session, used) => {
                setPassword(used);
                go(session);
              }}
            />
          )}
          {step === "start" && methods.data?.oidc && (
            <div className="mt-4 border-t border-line pt-4">
              <Button
                className="w-full"
                size="md"
                onClick={() =>
                  window.location.assign(`/api/v1/auth/oidc/start?next=${encodeURIComponent(next)}`)
                }
              >
                Continue with {methods.data.oidc_name || "single sign-on"}
              </Button>
            </div>
          )}
        </div>
        {methods.data && (
          <p className="mt-4 text-center text-xs text-ink-3">Holdfast {methods.data.version}</p>
        )}
      </div>
    </main>
  );
}

function StepForm({
  onSubmit,
  busy,
  label,
  error,
  children,
  ready,
}: {
  onSubmit: () => void;
  busy: boolean;
  label: string;
  error: unknown;
  children: ReactNode;
  ready: boolean;
}) {
  return (
    <form
      className="flex flex-col gap-4"
      noValidate
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        if (!busy && ready) onSubmit();
      }}
    >
      {children}
      {error ? <Notice tone="bad">{failureOf(error).detail}</Notice> : null}
      <Button type="submit" variant="primary" size="md" busy={busy} className="w-full">
        {label}
      </Button>
    </form>
  );
}

function NameAndPassword({ onDone }: { onDone: (session: Session, password: string) => void }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const login = useMutation({
    mutationFn: () =>
      take(api.POST("/api/v1/auth/login", { body: { name: name.trim(), password } })),
    onSuccess: (session) => onDone(session, password),
    meta: { signIn: true },
  });
  return (
    <StepForm
      onSubmit={() => login.mutate()}
      busy={login.isPending || login.isSuccess}
      label="Sign in"
      error={login.error}
      ready={Boolean(name.trim() && password)}
    >
      <TextField label="Name" value={name} onChange={setName} autoComplete="username" autoFocus />
      <SecretField
        label="Password"
        value={password}
        onChange={setPassword}
        autoComplete="current-password"
      />
    </StepForm>
  );
}

function SecondFactor({
  onDone,
  onBack,
}: {
  onDone: (session: Session) => void;
  onBack: () => void;
}) {
  const [code, setCode] = useState("");
  const check = useMutation({
    mutationFn: (digits: string) =>
      take(api.POST("/api/v1/auth/second-factor", { body: { code: digits } })),
    onSuccess: onDone,
    onError: () => setCode(""),
    meta: { signIn: true },
  });
  return (
    <StepForm
      onSubmit={() => check.mutate(code)}
      busy={check.isPending || check.isSuccess}
      label="Continue"
      error={check.error}
      ready={code.length === 6}
    >
      <TextField
        label="Code from your authenticator app"
        value={code}
        onChange={(text) => {
          const digits = text.replaceAll(/\D/g, "").slice(0, 6);
          setCode(digits);
          if (digits.length === 6) check.mutate(digits);
        }}
        inputMode="numeric"
        autoComplete="one-time-code"
        autoFocus
        mono
      />
      <button type="button" className="text-sm text-accent hover:underline" onClick={onBack}>
        Use another account
      </button>
    </StepForm>
  );
}

function NewPassword({ current, onDone }: { current: string; onDone: (session: Session) => void }) {
  const [password, setPassword] = useState("");
  const short = password.length > 0 && password.length < 12;
  const change = useMutation({
    mutationFn: async () => {
      await take(
        api.POST("/api/v1/auth/password", {
          body: { current_password: current, new_password: password },
        }),
      );
      return take(api.GET("/api/v1/auth/session"));
    },
    onSuccess: onDone,
    meta: { signIn: true },
  });
  return (
    <StepForm
      onSubmit={() => change.mutate()}
      busy={change.isPending || change.isSuccess}
      label="Set password and continue"
      error={change.error}
      ready={password.length >= 12}
    >
      <p className="text-sm text-ink-2">This password was made for you and works only once.</p>
      <SecretField
        label="New password"
        value={password}
        onChange={setPassword}
        autoComplete="new-password"
        autoFocus
        error={short ? "At least 12 characters" : null}
        hint="At least 12 characters"
      />
    </StepForm>
  );
}

"use client";

import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { HiOutlineTrash } from "react-icons/hi";
import { api, failureOf, take } from "@/api-client";
import { useSession } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button, RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { SecretField, TextField } from "@/ui/field";
import { Notice } from "@/ui/states";
import { ACTIONS, DataTable } from "@/ui/table";
import { Ago } from "@/ui/values";
import { SaveModal } from "../save-modal";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { agentWords } from "./agent";

export function AccountPage() {
  const { user } = useSession();
  return (
    <SettingsFrame
      title="Your sign-in"
      description={user ? `Signed in as ${user.name}` : undefined}
    >
      <div className="grid items-start gap-4 lg:grid-cols-2">
        {!user?.external && <PasswordCard />}
        {!user?.external && <SecondStepCard on={user?.totp_enabled ?? false} />}
      </div>
      <SessionsCard />
    </SettingsFrame>
  );
}

function PasswordCard() {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const short = next.length > 0 && next.length < 12;
  const save = useSave({
    save: () =>
      take(
        api.POST("/api/v1/auth/password", {
          body: { current_password: current, new_password: next },
        }),
      ),
    keys: ["session"],
    done: "Your password was changed",
    onDone: () => {
      setCurrent("");
      setNext("");
    },
  });
  return (
    <Card title="Password">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          if (current && next.length >= 12) save.mutate(undefined);
        }}
      >
        <SecretField
          label="Current password"
          value={current}
          onChange={setCurrent}
          autoComplete="current-password"
        />
        <SecretField
          label="New password"
          value={next}
          onChange={setNext}
          autoComplete="new-password"
          hint="At least 12 characters"
          error={short ? "At least 12 characters" : null}
        />
        {save.error && <Notice tone="bad">{failureOf(save.error).detail}</Notice>}
        <div>
          <Button
            type="submit"
            variant="primary"
            busy={save.isPending}
            disabledReason={
              !current
                ? "Give the current password"
                : next.length < 12
                  ? "The new password is too short"
                  : null
            }
          >
            Change password
          </Button>
        </div>
      </form>
    </Card>
  );
}

function SecondStepCard({ on }: { on: boolean }) {
  const [code, setCode] = useState("");
  const [turningOff, setTurningOff] = useState(false);
  const [password, setPassword] = useState("");
  const disable = useSave({
    save: () =>
      take(api.POST("/api/v1/auth/totp/disable", { body: { current_password: password } })),
    keys: ["session"],
    done: "The second step is off",
    onDone: () => {
      setTurningOff(false);
      setPassword("");
    },
  });
  const setup = useMutation({ mutationFn: () => take(api.POST("/api/v1/auth/totp", {})) });
  const confirm = useSave({
    save: () => take(api.POST("/api/v1/auth/totp/confirm", { body: { code } })),
    keys: ["session"],
    done: "The second step is on",
    onDone: () => setup.reset(),
  });
  return (
    <Card
      title="Second step"
      actions={<Badge tone={on ? "ok" : "idle"}>{on ? "On" : "Off"}</Badge>}
    >
      <p className="text-ink-2">
        A code from an authenticator app is asked for after the password.
      </p>
      <div className="mt-3">
        {on ? (
          <Button onClick={() => setTurningOff(true)}>Turn off…</Button>
        ) : (
          <Button onClick={() => setup.mutate()} busy={setup.isPending}>
            Set up
          </Button>
        )}
      </div>
      {turningOff && (
        <SaveModal
          onClose={() => setTurningOff(false)}
          title="Turn off the second step"
          submitLabel="Turn it off"
          danger
          save={disable}
          disabledReason={password ? null : "Give your password"}
        >
          <SecretField
            label="Current password"
            value={password}
            onChange={setPassword}
            autoComplete="current-password"
            autoFocus
          />
        </SaveModal>
      )}
      {setup.error && (
        <Notice tone="bad" className="mt-3">
          {failureOf(setup.error).detail}
        </Notice>
      )}
      {setup.data && (
        <SaveModal
          onClose={() => setup.reset()}
          title="Set up the second step"
          submitLabel="Turn it on"
          save={confirm}
          disabledReason={/^\d{6}$/.test(code) ? null : "Type the six digits"}
        >
          {setup.data.qr_svg ? (
            <img
              alt="QR code for the authenticator app"
              className="mx-auto size-44 rounded-md bg-white p-2"
              src={`data:image/svg+xml;utf8,${encodeURIComponent(setup.data.qr_svg)}`}
            />
          ) : null}
          <div>
            <p className="text-ink-2">Add this key to your authenticator app:</p>
            <code className="mt-1 block rounded-md bg-sunken px-3 py-2 font-mono text-sm break-all">
              {setup.data.secret}
            </code>
          </div>
          <TextField
            label="Code that the app shows"
            value={code}
            onChange={(text) => setCode(text.replaceAll(/\D/g, "").slice(0, 6))}
            inputMode="numeric"
            autoComplete="one-time-code"
            mono
          />
        </SaveModal>
      )}
    </Card>
  );
}

function SessionsCard() {
  const sessions = useQuery({
    queryKey: ["sessions"],
    queryFn: () => take(api.GET("/api/v1/auth/sessions", {})),
  });
  const end = useSave({
    save: (id: string) =>
      take(
        api.DELETE("/api/v1/auth/sessions/{session_id}", { params: { path: { session_id: id } } }),
      ),
    keys: ["sessions"],
    done: "That session was ended",
    sayFailure: "It was not ended",
  });
  return (
    <Card title="Where you are signed in" flush>
      <DataTable
        what="sessions"
        rows={sessions.data?.items}
        rowKey={(one) => one.id}
        failure={sessions.error ? failureOf(sessions.error) : null}
        onRetry={() => sessions.refetch()}
        skeletonRows={2}
        columns={[
          {
            key: "agent",
            title: "Browser",
            cell: (one) => (
              <span className="block truncate" title={one.agent}>
                {agentWords(one.agent)}
              </span>
            ),
          },
          {
            key: "address",
            title: "Address",
            width: "w-40",
            from: "sm",
            cell: (one) => <span className="font-mono text-xs">{one.address}</span>,
          },
          {
            key: "seen",
            title: "Last seen",
            width: "w-28",
            cell: (one) =>
              one.current ? <Badge tone="ok">This one</Badge> : <Ago time={one.seen_at} />,
          },
          {
            ...ACTIONS,
            width: "w-16 @4xl:w-24",
            cell: (one) => (
              <RowAction
                icon={HiOutlineTrash}
                label="End"
                of={agentWords(one.agent)}
                onClick={() => end.mutate(one.id)}
                disabledReason={one.current ? "use Sign out" : null}
              />
            ),
          },
        ]}
      />
    </Card>
  );
}

"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import {
  HiOutlineBan,
  HiOutlineKey,
  HiOutlinePencil,
  HiOutlinePlus,
  HiOutlineShieldExclamation,
  HiOutlineTrash,
} from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied, useSession } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { CopyButton } from "@/ui/copy-button";
import { TextField } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Modal } from "@/ui/modal";
import { ACTIONS, DataTable } from "@/ui/table";
import { Ago, Truncated } from "@/ui/values";
import { RemoveModal, SaveModal } from "../save-modal";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { GrantBadges, GrantsField, grantsProblem } from "./grants";

type User = Schemas["UserInfo"];

export function UsersPage() {
  const denied = useDenied("access.manage");
  const users = useQuery({
    queryKey: ["users"],
    queryFn: () => take(api.GET("/api/v1/users", { params: { query: { limit: 500 } } })),
    enabled: !denied,
  });
  const me = useSession().user;
  const [adding, setAdding] = useState(false);
  const [editing, setEditing] = useState<User | null>(null);
  const [removing, setRemoving] = useState<User | null>(null);
  const [secret, setSecret] = useState<{ name: string; password: string } | null>(null);
  const change = useSave({
    save: ({ user, body }: { user: User; body: Schemas["UserUpdate"] }) =>
      take(api.PATCH("/api/v1/users/{user_id}", { params: { path: { user_id: user.id } }, body })),
    keys: ["users"],
    done: "The user was changed",
    sayFailure: "The user was not changed",
    onDone: (user) => {
      if ("password" in user && user.password)
        setSecret({ name: user.name, password: user.password });
    },
  });
  const remove = useSave({
    save: (id: string) =>
      take(api.DELETE("/api/v1/users/{user_id}", { params: { path: { user_id: id } } })),
    keys: ["users"],
    done: "The user was removed",
    onDone: () => setRemoving(null),
  });
  return (
    <SettingsFrame
      title="Users"
      description="Who may sign in, and what they may do."
      actions={
        <Button
          variant="primary"
          icon={HiOutlinePlus}
          disabledReason={denied}
          onClick={() => setAdding(true)}
        >
          Add user
        </Button>
      }
    >
      <Card flush>
        <DataTable
          what="users"
          rows={denied ? [] : users.data?.items}
          rowKey={(user) => user.id}
          failure={users.error ? failureOf(users.error) : null}
          onRetry={() => users.refetch()}
          tall
          skeletonRows={3}
          empty={denied ? { title: "Users are not shown", text: denied } : { title: "No users" }}
          columns={[
            {
              key: "name",
              title: "User",
              cell: (user) => (
                <div className="min-w-0">
                  <Truncated className="font-medium">{user.display_name || user.name}</Truncated>
                  <Truncated className="text-xs text-ink-3">
                    {user.external ? `${user.name}, single sign-on` : user.name}
                  </Truncated>
                </div>
              ),
            },
            {
              key: "roles",
              title: "Roles",
              from: "sm",
              cell: (user) => <GrantBadges grants={user.grants} />,
            },
            {
              key: "state",
              title: "State",
              width: "w-32",
              cell: (user) =>
                user.disabled ? (
                  <Badge tone="bad">Disabled</Badge>
                ) : user.must_change_password ? (
                  <Badge tone="warn" title="The password must be changed at the next sign-in">
                    New password
                  </Badge>
                ) : (
                  <Badge tone="ok">Active</Badge>
                ),
            },
            {
              key: "totp",
              title: "Second step",
              width: "w-28",
              from: "lg",
              cell: (user) => (user.totp_enabled ? "On" : <span className="text-ink-3">Off</span>),
            },
            {
              key: "login",
              title: "Last sign-in",
              width: "w-28",
              from: "md",
              cell: (user) => <Ago time={user.last_login_at} />,
            },
            {
              ...ACTIONS,
              width: "w-16",
              cell: (user) => {
                const own = user.id === me?.id ? "this is you" : null;
                return (
                  <Menu
                    label={`Actions for ${user.name}`}
                    items={[
                      { label: "Edit…", icon: HiOutlinePencil, onSelect: () => setEditing(user) },
                      {
                        label: "Make a new password",
                        icon: HiOutlineKey,
                        onSelect: () => change.mutate({ user, body: { reset_password: true } }),
                        disabledReason: user.external ? "signs in elsewhere" : null,
                      },
                      {
                        label: "Turn off the second step",
                        icon: HiOutlineShieldExclamation,
                        onSelect: () => change.mutate({ user, body: { reset_totp: true } }),
                        disabledReason: user.totp_enabled ? null : "it is off",
                      },
                      {
                        label: user.disabled ? "Enable" : "Disable",
                        icon: HiOutlineBan,
                        onSelect: () => change.mutate({ user, body: { disabled: !user.disabled } }),
                        disabledReason: own,
                      },
                      {
                        label: "Remove…",
                        icon: HiOutlineTrash,
                        danger: true,
                        onSelect: () => setRemoving(user),
                        disabledReason: own,
                      },
                    ]}
                  />
                );
              },
            },
          ]}
        />
      </Card>
      {(adding || editing) && (
        <UserModal
          user={editing}
          onClose={() => {
            setAdding(false);
            setEditing(null);
          }}
          onSecret={setSecret}
        />
      )}
      {removing && (
        <RemoveModal
          onClose={() => setRemoving(null)}
          title="Remove user"
          confirmLabel="Remove"
          remove={remove}
          what={removing.id}
        >
          <p>
            <strong className="font-medium text-ink">{removing.name}</strong> can no longer sign in,
            and their tokens stop working. What they did stays in the audit log.
          </p>
        </RemoveModal>
      )}
      <SecretModal
        title="New password"
        text={
          secret
            ? `For ${secret.name}. It is shown only now and must be changed at the first sign-in.`
            : ""
        }
        secret={secret?.password ?? null}
        onClose={() => setSecret(null)}
      />
    </SettingsFrame>
  );
}

function UserModal({
  user,
  onClose,
  onSecret,
}: {
  user: User | null;
  onClose: () => void;
  onSecret: (secret: { name: string; password: string }) => void;
}) {
  const [name, setName] = useState(user?.name ?? "");
  const [display, setDisplay] = useState(user?.display_name ?? "");
  const [grants, setGrants] = useState<Schemas["GrantBody"][]>(
    user?.grants ?? [{ role: "viewer", scope_kind: "all", scope_value: "" }],
  );
  const save = useSave<void, Schemas["UserInfo"] & { password?: string | null }>({
    save: () =>
      user
        ? take(
            api.PATCH("/api/v1/users/{user_id}", {
              params: { path: { user_id: user.id } },
              body: { display_name: display.trim(), grants },
            }),
          )
        : take(
            api.POST("/api/v1/users", {
              body: { name: name.trim(), display_name: display.trim(), grants },
            }),
          ),
    keys: ["users"],
    done: user ? "The user was changed" : "The user was added",
    onDone: (made) => {
      if (made.password) onSecret({ name: made.name, password: made.password });
      onClose();
    },
  });
  const badName = !user && name.length > 0 && !/^[a-z0-9][a-z0-9._@-]{0,99}$/.test(name);
  return (
    <SaveModal
      onClose={onClose}
      size="lg"
      title={user ? `Edit ${user.name}` : "Add user"}
      description={user ? undefined : "A password is made and shown once"}
      submitLabel={user ? "Save" : "Add user"}
      save={save}
      disabledReason={
        !name ? "Give a name" : badName ? "The name is not right" : grantsProblem(grants)
      }
    >
      {!user && (
        <TextField
          label="Name"
          value={name}
          onChange={setName}
          autoFocus
          autoComplete="off"
          error={
            badName ? "Small letters, digits and . _ @ - only" : fieldError(save.error, "name")
          }
        />
      )}
      <TextField
        label="Shown as"
        value={display}
        onChange={setDisplay}
        optional
        autoComplete="off"
      />
      <GrantsField grants={grants} onChange={setGrants} />
    </SaveModal>
  );
}

/** Something that is shown only once. */
export function SecretModal({
  title,
  text,
  secret,
  onClose,
}: {
  title: string;
  text: string;
  secret: string | null;
  onClose: () => void;
}) {
  return (
    <Modal
      open={secret !== null}
      onClose={onClose}
      title={title}
      footer={
        <Button variant="primary" onClick={onClose}>
          I have kept it
        </Button>
      }
    >
      <p className="text-ink-2">{text}</p>
      <div className="mt-3 flex items-center gap-2 rounded-md border border-line bg-sunken py-1 pr-1 pl-3">
        <code className="min-w-0 flex-1 break-all font-mono text-sm">{secret}</code>
        <CopyButton text={secret ?? ""} label="Copy" />
      </div>
    </Modal>
  );
}

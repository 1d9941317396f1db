"use client";

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { HiOutlineBell, HiOutlinePencil, HiOutlinePlus, HiOutlineTrash } from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { CheckField, SecretField, TextField } from "@/ui/field";
import { words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { ACTIONS, DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { Ago, Truncated } from "@/ui/values";
import { RemoveModal, SaveModal } from "../save-modal";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";

type Target = Schemas["NotificationInfo"];
type EventName = Target["events"][number];

const EVENTS: Array<[EventName, string]> = [
  ["backup_failed", "A backup failed"],
  ["backup_completed", "A backup completed"],
  ["restore_completed", "A restore completed"],
  ["restore_failed", "A restore failed"],
  ["integrity_problem", "Damage was found in a repository"],
  ["repository_offline", "A repository went offline"],
  ["repository_nearly_full", "A repository is nearly full"],
  ["vm_unprotected", "A VM has no recent backup"],
];

export function NotificationsPage() {
  const denied = useDenied("system.manage");
  const targets = useQuery({
    queryKey: ["notifications"],
    queryFn: () => take(api.GET("/api/v1/notifications", {})),
    enabled: !denied,
  });
  const toast = useToast();
  const [editing, setEditing] = useState<Target | "new" | null>(null);
  const [removing, setRemoving] = useState<Target | null>(null);
  const test = useMutation({
    mutationFn: (id: string) =>
      take(
        api.POST("/api/v1/notifications/{notification_id}/test", {
          params: { path: { notification_id: id } },
        }),
      ),
    onSuccess: (result) =>
      toast({
        tone: result.ok ? "ok" : "bad",
        title: result.ok ? "A test message was sent" : "It was not delivered",
        text: result.message,
      }),
    onError: (error) =>
      toast({ tone: "bad", title: "It could not be tested", text: failureOf(error).detail }),
  });
  const remove = useSave({
    save: (id: string) =>
      take(
        api.DELETE("/api/v1/notifications/{notification_id}", {
          params: { path: { notification_id: id } },
        }),
      ),
    keys: ["notifications"],
    done: "The notification was removed",
    onDone: () => setRemoving(null),
  });
  return (
    <SettingsFrame
      title="Notifications"
      description="Messages by mail, chat, webhook and over a hundred services that Apprise knows."
      actions={
        <Button
          variant="primary"
          icon={HiOutlinePlus}
          disabledReason={denied}
          onClick={() => setEditing("new")}
        >
          Add notification
        </Button>
      }
    >
      <Card flush>
        <DataTable
          what="notifications"
          rows={denied ? [] : targets.data?.items}
          rowKey={(one) => one.id}
          failure={targets.error ? failureOf(targets.error) : null}
          onRetry={() => targets.refetch()}
          skeletonRows={2}
          tall
          empty={
            denied
              ? { title: "Notifications are not shown", text: denied }
              : {
                  title: "Nobody is told of anything yet",
                  text: "Add where messages about failed backups shall go.",
                }
          }
          columns={[
            {
              key: "name",
              title: "Name",
              cell: (one) => (
                <div className="min-w-0">
                  <Truncated className="font-medium">{one.name}</Truncated>
                  <Truncated className="text-xs text-ink-3">{one.service}</Truncated>
                </div>
              ),
            },
            {
              key: "events",
              title: "Tells of",
              from: "md",
              cell: (one) => (
                <Truncated>
                  {one.events.map((event) => words(event)).join(", ") || "Nothing"}
                </Truncated>
              ),
            },
            {
              key: "state",
              title: "State",
              width: "w-28 @2xl:w-64",
              cell: (one) =>
                !one.enabled ? (
                  <Badge tone="idle">Off</Badge>
                ) : one.last_error ? (
                  <>
                    <Badge tone="bad" title={one.last_error}>
                      {one.waiting > 0 ? `Failing, ${one.waiting} waiting` : "Failing"}
                    </Badge>
                    <span className="mt-0.5 hidden text-xs text-ink-3 @2xl:block">
                      {one.last_error}
                    </span>
                  </>
                ) : (
                  <Badge tone="ok">On</Badge>
                ),
            },
            {
              key: "sent",
              title: "Last sent",
              width: "w-28",
              from: "sm",
              cell: (one) => <Ago time={one.last_sent_at} />,
            },
            {
              ...ACTIONS,
              width: "w-16",
              cell: (one) => (
                <Menu
                  label={`Actions for ${one.name}`}
                  items={[
                    {
                      label: "Send a test",
                      icon: HiOutlineBell,
                      onSelect: () => test.mutate(one.id),
                    },
                    { label: "Edit…", icon: HiOutlinePencil, onSelect: () => setEditing(one) },
                    {
                      label: "Remove…",
                      icon: HiOutlineTrash,
                      danger: true,
                      onSelect: () => setRemoving(one),
                    },
                  ]}
                />
              ),
            },
          ]}
        />
      </Card>
      {editing && (
        <NotificationModal
          target={editing === "new" ? null : editing}
          onClose={() => setEditing(null)}
        />
      )}
      {removing && (
        <RemoveModal
          onClose={() => setRemoving(null)}
          title="Remove notification"
          confirmLabel="Remove"
          remove={remove}
          what={removing.id}
        >
          <p>
            <strong className="font-medium text-ink">{removing.name}</strong> gets no more messages.
          </p>
        </RemoveModal>
      )}
    </SettingsFrame>
  );
}

function NotificationModal({ target, onClose }: { target: Target | null; onClose: () => void }) {
  const [name, setName] = useState(target?.name ?? "");
  const [url, setUrl] = useState("");
  const [enabled, setEnabled] = useState(target?.enabled ?? true);
  const [events, setEvents] = useState<ReadonlySet<EventName>>(
    new Set(
      target?.events ?? [
        "backup_failed",
        "restore_failed",
        "integrity_problem",
        "repository_offline",
        "repository_nearly_full",
      ],
    ),
  );
  const body = {
    name: name.trim(),
    url: url || null,
    enabled,
    events: EVENTS.map(([event]) => event).filter((event) => events.has(event)),
  };
  const save = useSave({
    save: () =>
      target
        ? take(
            api.PATCH("/api/v1/notifications/{notification_id}", {
              params: { path: { notification_id: target.id } },
              body,
            }),
          )
        : take(api.POST("/api/v1/notifications", { body })),
    keys: ["notifications"],
    done: "Saved. Send a test from its menu.",
    onDone: onClose,
  });
  return (
    <SaveModal
      onClose={onClose}
      size="lg"
      title={target ? "Edit notification" : "Add notification"}
      save={save}
      disabledReason={
        !name.trim() ? "Give it a name" : !target && !url ? "Say where messages go" : null
      }
    >
      <TextField label="Name" value={name} onChange={setName} autoFocus placeholder="On-call" />
      <SecretField
        label="Apprise address"
        value={url}
        onChange={setUrl}
        mono
        placeholder="mailtos://user:password@example.com"
        optional={target !== null}
        error={fieldError(save.error, "url")}
        hint={target ? "Kept as it is when left empty" : "Sealed at rest, never shown again"}
      />
      <fieldset>
        <legend className="mb-2 text-sm font-medium">Tell when</legend>
        <div className="grid gap-2.5 sm:grid-cols-2">
          {EVENTS.map(([event, label]) => (
            <CheckField
              key={event}
              label={label}
              checked={events.has(event)}
              onChange={(checked) => {
                const next = new Set(events);
                if (checked) next.add(event);
                else next.delete(event);
                setEvents(next);
              }}
            />
          ))}
        </div>
      </fieldset>
      <CheckField label="Enabled" checked={enabled} onChange={setEnabled} />
    </SaveModal>
  );
}

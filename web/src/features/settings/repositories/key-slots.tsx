"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { HiOutlineDocumentText, HiOutlineKey, HiOutlineTrash } from "react-icons/hi";
import { ApiError, api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button, RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { SecretField } from "@/ui/field";
import { plural } from "@/ui/format";
import { EmptyState } from "@/ui/states";
import { ACTIONS, DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { Moment, Truncated } from "@/ui/values";
import { RemoveModal, SaveModal } from "../save-modal";
import { useSave } from "../use-save";
import type { DialogProps, Repository } from "./maintenance-modal";
import { NewPassphraseFields, passphraseProblem } from "./new-passphrase";
import { inRepository } from "./queries";
import { RecoveryKitModal } from "./recovery-kit";

type Slot = Schemas["KeySlotInfo"];

const KINDS: Record<Slot["kind"], string> = {
  passphrase: "Passphrase",
  recovery: "Recovery kit",
  unreadable: "Cannot be read",
};

/** What opens a repository: passphrases and recovery kits, each by itself. */
export function KeySlots({ repository }: { repository: Repository }) {
  const denied = useDenied("repository.manage");
  const offline = repository.state === "offline" ? "It is offline" : null;
  const [asked, setAsked] = useState<"passphrase" | Slot | null>(null);
  const path = inRepository(repository.id);
  const slots = useQuery({
    queryKey: ["repositories", repository.id, "keys"],
    queryFn: () => take(api.GET("/api/v1/repositories/{repository_id}/keys", path)),
    enabled: !denied,
  });
  const [kit, setKit] = useState<string | null>(null);
  const makeKit = useSave({
    save: () => take(api.POST("/api/v1/repositories/{repository_id}/keys/recovery-kit", path)),
    keys: ["repositories"],
    onDone: (made) => setKit(made.recovery_kit),
    sayFailure: "No recovery kit was received",
  });
  return (
    <Card
      flush
      title="Keys"
      description="Each of these opens the repository by itself."
      actions={
        <>
          <Button
            icon={HiOutlineKey}
            onClick={() => setAsked("passphrase")}
            disabledReason={denied ?? offline}
          >
            Change passphrase
          </Button>
          <Button
            icon={HiOutlineDocumentText}
            onClick={() => makeKit.mutate(undefined)}
            busy={makeKit.isPending}
            disabledReason={denied ?? offline}
          >
            New recovery kit
          </Button>
        </>
      }
    >
      {denied ? (
        <EmptyState compact title="Not shown">
          {denied}
        </EmptyState>
      ) : (
        <DataTable
          what="keys"
          rows={slots.data?.slots}
          rowKey={(slot) => slot.id}
          skeletonRows={2}
          failure={slots.error ? failureOf(slots.error) : null}
          onRetry={() => slots.refetch()}
          columns={[
            {
              key: "kind",
              title: "Kind",
              cell: (slot) => (
                <span className="flex flex-wrap items-center gap-x-2 gap-y-0.5 py-1.5">
                  <span className="font-medium">{KINDS[slot.kind]}</span>
                  {slot.opens_service && (
                    <Badge tone="run" title="The service opens the repository with it">
                      Used here
                    </Badge>
                  )}
                </span>
              ),
            },
            {
              key: "created",
              title: "Made",
              width: "w-32",
              cell: (slot) => <Moment time={slot.created_at} never="Not known" />,
            },
            {
              key: "id",
              title: "Slot",
              from: "md",
              cell: (slot) => <Truncated className="font-mono text-xs">{slot.id}</Truncated>,
            },
            {
              ...ACTIONS,
              width: "w-14 @4xl:w-28",
              cell: (slot) => (
                <RowAction
                  icon={HiOutlineTrash}
                  label="Remove"
                  of={`${KINDS[slot.kind]} ${slot.id}`}
                  onClick={() => setAsked(slot)}
                  disabledReason={
                    slot.opens_service
                      ? "the service uses it: change the passphrase instead"
                      : slots.data?.total === 1
                        ? "it is the last one"
                        : offline
                  }
                />
              ),
            },
          ]}
        />
      )}
      {asked === "passphrase" && (
        <PassphraseModal repository={repository} onClose={() => setAsked(null)} />
      )}
      {asked && asked !== "passphrase" && (
        <RemoveSlotModal repository={repository} slot={asked} onClose={() => setAsked(null)} />
      )}
      {kit && <RecoveryKitModal kit={kit} name={repository.name} onClose={() => setKit(null)} />}
    </Card>
  );
}

function PassphraseModal({ repository, onClose }: DialogProps) {
  const [current, setCurrent] = useState("");
  const [typed, setTyped] = useState({ text: "", again: "" });
  const toast = useToast();
  const save = useSave({
    save: () =>
      take(
        api.PUT("/api/v1/repositories/{repository_id}/passphrase", {
          ...inRepository(repository.id),
          body: { current_passphrase: current, new_passphrase: typed.text },
        }),
      ),
    keys: ["repositories"],
    onDone: (done) => {
      toast(
        done.still_locked.length > 0
          ? {
              tone: "warn",
              title: "The passphrase was changed",
              text: `The old one opens it too until its lock ends: then remove ${plural(done.still_locked.length, "key")} below.`,
            }
          : { tone: "ok", title: "The passphrase was changed" },
      );
      onClose();
    },
  });
  const wrong = save.error instanceof ApiError && save.error.code === "wrong_passphrase";
  return (
    <SaveModal
      onClose={onClose}
      title="Change passphrase"
      description={repository.name}
      submitLabel="Change passphrase"
      save={save}
      saysFailure={!wrong}
      disabledReason={current ? passphraseProblem(typed) : "Give the current passphrase"}
    >
      <SecretField
        label="Current passphrase"
        value={current}
        onChange={setCurrent}
        autoFocus
        error={wrong ? "It does not open the repository. Check the keyboard layout." : null}
        hint="Or a recovery key. The key you give is replaced; the others stay."
      />
      <NewPassphraseFields
        label="New passphrase"
        value={typed}
        onChange={setTyped}
        error={fieldError(save.error, "new_passphrase")}
      />
      <p className="text-sm text-ink-3">
        The service uses the new one at once. Stored data stays as it is: whoever copied the
        repository before can still open that copy with the old one.
      </p>
    </SaveModal>
  );
}

function RemoveSlotModal({ repository, slot, onClose }: DialogProps & { slot: Slot }) {
  const remove = useSave({
    save: () =>
      take(
        api.DELETE("/api/v1/repositories/{repository_id}/keys/{slot_id}", {
          params: { path: { repository_id: repository.id, slot_id: slot.id } },
        }),
      ),
    keys: ["repositories"],
    done: "The key was removed",
    onDone: onClose,
  });
  return (
    <RemoveModal
      onClose={onClose}
      title={`Remove ${slot.kind === "recovery" ? "recovery kit" : "key"}`}
      confirmLabel="Remove"
      remove={remove}
      typed={repository.name}
    >
      <p>
        The {slot.kind === "recovery" ? "recovery kit" : "passphrase"} made on{" "}
        <Moment time={slot.created_at} never="an unknown day" /> will no longer open the repository.
        Whoever copied the repository before can still open that copy with it.
      </p>
    </RemoveModal>
  );
}

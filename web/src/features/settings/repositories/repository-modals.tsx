"use client";

import { useState } from "react";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { TextField } from "@/ui/field";
import { count } from "@/ui/format";
import { ConfirmModal, FormModal } from "@/ui/modal";
import { useSave } from "../use-save";

type Repository = Schemas["RepositoryInfo"];

export function RenameModal({
  repository,
  onClose,
}: {
  repository: Repository;
  onClose: () => void;
}) {
  const [name, setName] = useState(repository.name);
  const save = useSave({
    save: () =>
      take(
        api.PATCH("/api/v1/repositories/{repository_id}", {
          params: { path: { repository_id: repository.id } },
          body: { name: name.trim() },
        }),
      ),
    keys: ["repositories"],
    done: "The repository was renamed",
    onDone: onClose,
  });
  return (
    <FormModal
      open
      onClose={onClose}
      title="Rename repository"
      submitLabel="Save"
      onSubmit={() => save.mutate(undefined)}
      busy={save.isPending}
      failure={save.error ? failureOf(save.error) : null}
      disabledReason={name.trim() ? null : "Give it a name"}
    >
      <TextField label="Name" value={name} onChange={setName} autoFocus />
    </FormModal>
  );
}

export function ForgetModal({
  repository,
  onClose,
}: {
  repository: Repository;
  onClose: () => void;
}) {
  const forget = useSave({
    save: () =>
      take(
        api.DELETE("/api/v1/repositories/{repository_id}", {
          params: { path: { repository_id: repository.id } },
        }),
      ),
    keys: ["repositories", "backups", "vms", "overview"],
    done: "The repository was forgotten",
    onDone: onClose,
  });
  return (
    <ConfirmModal
      open
      onClose={onClose}
      title="Forget repository"
      confirmLabel="Forget"
      danger
      typed={repository.name}
      busy={forget.isPending}
      failure={forget.error ? failureOf(forget.error) : null}
      onConfirm={() => forget.mutate(undefined)}
    >
      <p>
        Its {count(repository.backup_count)} restore points leave the lists here. Nothing in{" "}
        <span className="font-mono text-xs">{repository.location}</span> is deleted: add it again
        with its passphrase or its recovery kit.
      </p>
    </ConfirmModal>
  );
}

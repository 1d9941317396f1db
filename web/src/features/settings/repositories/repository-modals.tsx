"use client";

import { useState } from "react";
import { api, type Schemas, take } from "@/api-client";
import { TextField } from "@/ui/field";
import { count } from "@/ui/format";
import { RemoveModal, SaveModal } from "../save-modal";
import { useSave } from "../use-save";
import { inRepository } from "./queries";

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
          ...inRepository(repository.id),
          body: { name: name.trim() },
        }),
      ),
    keys: ["repositories"],
    done: "The repository was renamed",
    onDone: onClose,
  });
  return (
    <SaveModal
      onClose={onClose}
      title="Rename repository"
      save={save}
      disabledReason={name.trim() ? null : "Give it a name"}
    >
      <TextField label="Name" value={name} onChange={setName} autoFocus />
    </SaveModal>
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
      take(api.DELETE("/api/v1/repositories/{repository_id}", inRepository(repository.id))),
    keys: ["repositories", "backups", "vms", "overview"],
    done: "The repository was forgotten",
    onDone: onClose,
  });
  return (
    <RemoveModal
      onClose={onClose}
      title="Forget repository"
      confirmLabel="Forget"
      typed={repository.name}
      remove={forget}
    >
      <p>
        Its {count(repository.backup_count)} restore points leave the lists here. Nothing in{" "}
        <span className="font-mono text-xs">{repository.location}</span> is deleted: add it again
        with its passphrase or its recovery kit.
      </p>
    </RemoveModal>
  );
}

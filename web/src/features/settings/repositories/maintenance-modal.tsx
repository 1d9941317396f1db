"use client";

import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import type { Schemas, take } from "@/api-client";
import { RunOutcome } from "@/features/runs/run-outcome";
import { Button } from "@/ui/button";
import { Modal, type ModalProps } from "@/ui/modal";
import { SaveModal } from "../save-modal";
import { useSave } from "../use-save";

export type Repository = Schemas["RepositoryInfo"];
export type Accepted = Schemas["RunAccepted"];

/** What each dialog here is given. */
export interface DialogProps {
  repository: Repository;
  onClose: () => void;
}

const CHANGED = ["runs", "monitoring", "repositories", "backups", "vms", "overview"];

/** Queues a run of maintenance. */
export function useMaintenance(start: () => Promise<Accepted>) {
  const [accepted, setAccepted] = useState<Accepted | null>(null);
  const save = useSave({
    save: start,
    keys: ["runs", "monitoring"],
    onDone: setAccepted,
  });
  return { save, accepted, reset: () => setAccepted(null) };
}

/** Asks how, then shows the run that was started until it has ended. */
export function MaintenanceModal({
  repository,
  onClose,
  title,
  submitLabel,
  disabledReason,
  start,
  children,
}: DialogProps & {
  title: string;
  submitLabel: string;
  disabledReason?: string | null;
  start: () => ReturnType<typeof take<Accepted>>;
  children: ReactNode;
}) {
  const { save, accepted } = useMaintenance(start);
  if (accepted) return <OutcomeModal {...{ repository, onClose, title, accepted }} />;
  return (
    <SaveModal
      size="lg"
      onClose={onClose}
      title={title}
      description={repository.name}
      submitLabel={submitLabel}
      save={save}
      disabledReason={disabledReason ?? null}
    >
      {children}
    </SaveModal>
  );
}

/** The run that a dialog has started. */
export function OutcomeModal({
  repository,
  onClose,
  title,
  accepted,
  size = "lg",
  extra,
}: DialogProps & {
  title: string;
  accepted: Accepted;
  size?: NonNullable<ModalProps["size"]>;
  extra?: ReactNode;
}) {
  const client = useQueryClient();
  const close = () => {
    for (const key of CHANGED) void client.invalidateQueries({ queryKey: [key] });
    onClose();
  };
  return (
    <Modal
      open
      size={size}
      onClose={close}
      title={title}
      description={repository.name}
      footer={
        <>
          {extra}
          <Button variant="primary" onClick={close}>
            Close
          </Button>
        </>
      }
    >
      <RunOutcome runId={accepted.run_id} existing={accepted.existing ?? false} />
    </Modal>
  );
}

"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { api, failureOf, take } from "@/api-client";
import { TextField } from "@/ui/field";
import { exactTime } from "@/ui/format";
import { ConfirmModal, FormModal } from "@/ui/modal";
import { useToast } from "@/ui/toast";
import type { BackupJob } from "./queries";

const TOUCHED = ["backups", "vms", "runs", "overview", "repositories"];

function useTouch() {
  const client = useQueryClient();
  return () => {
    for (const key of TOUCHED) void client.invalidateQueries({ queryKey: [key] });
  };
}

/** The same backup once more, as a new one; leads to it. */
export function useRetryBackup() {
  const touch = useTouch();
  const toast = useToast();
  const router = useRouter();
  return useMutation({
    mutationFn: (id: string) =>
      take(api.POST("/api/v1/backup/{backup_id}/retry", { params: { path: { backup_id: id } } })),
    onSuccess: (job) => {
      toast({ tone: "ok", title: `Backup of ${job.vm_name} started again` });
      router.push(`/backups/${encodeURIComponent(job.id)}`);
    },
    onError: (error) =>
      toast({ tone: "bad", title: "It did not start again", text: failureOf(error).detail }),
    onSettled: touch,
  });
}

export function useCancelBackup() {
  const touch = useTouch();
  const toast = useToast();
  return useMutation({
    mutationFn: (id: string) =>
      take(api.POST("/api/v1/backup/{backup_id}/cancel", { params: { path: { backup_id: id } } })),
    onSuccess: () =>
      toast({
        tone: "info",
        title: "The backup is being cancelled",
        text: "Nothing half-done stays.",
      }),
    onError: (error) =>
      toast({ tone: "bad", title: "It was not cancelled", text: failureOf(error).detail }),
    onSettled: touch,
  });
}

export function DeleteBackupModal({
  job,
  onClose,
  onDeleted,
}: {
  job: BackupJob;
  onClose: () => void;
  onDeleted: () => void;
}) {
  const touch = useTouch();
  const toast = useToast();
  const remove = useMutation({
    mutationFn: () =>
      take(api.DELETE("/api/v1/backup/{backup_id}", { params: { path: { backup_id: job.id } } })),
    onSuccess: () => {
      toast({
        tone: "ok",
        title: job.point_id ? "The restore point was deleted" : "It was taken off the list",
      });
      onDeleted();
      touch();
    },
  });
  return (
    <ConfirmModal
      open
      danger
      onClose={onClose}
      title={job.point_id ? "Delete the restore point" : "Take the backup off the list"}
      confirmLabel={job.point_id ? "Delete restore point" : "Take off the list"}
      onConfirm={() => remove.mutate()}
      busy={remove.isPending}
      failure={remove.error ? failureOf(remove.error) : null}
      {...(job.point_id ? { typed: job.vm_name } : {})}
    >
      {job.point_id ? (
        <p>
          <strong className="font-medium text-ink">{job.vm_name}</strong> as it was on{" "}
          {exactTime(job.created_at)} will be gone from {job.repository_name}. Nothing brings it
          back. No other restore point is affected; the space becomes free with the next compact.
        </p>
      ) : (
        <p>
          This backup of <strong className="font-medium text-ink">{job.vm_name}</strong> made no
          restore point. Only its entry goes.
        </p>
      )}
    </ConfirmModal>
  );
}

export function HoldBackupModal({ job, onClose }: { job: BackupJob; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const touch = useTouch();
  const toast = useToast();
  const hold = useMutation({
    mutationFn: () =>
      take(
        api.PUT("/api/v1/backup/{backup_id}/hold", {
          params: { path: { backup_id: job.id } },
          body: { reason: reason.trim() },
        }),
      ),
    onSuccess: () => {
      toast({ tone: "ok", title: "The restore point is held" });
      touch();
      onClose();
    },
  });
  return (
    <FormModal
      open
      onClose={onClose}
      title="Hold the restore point"
      description={job.vm_name}
      submitLabel="Hold"
      onSubmit={() => hold.mutate()}
      busy={hold.isPending}
      failure={hold.error ? failureOf(hold.error) : null}
      disabledReason={reason.trim() ? null : "Say why it is held"}
    >
      <p className="text-sm text-ink-2">
        Until it is released, neither a rule nor a person deletes it.
      </p>
      <TextField
        label="Reason"
        value={reason}
        onChange={setReason}
        maxLength={200}
        autoFocus
        placeholder="Before the upgrade of 12 May"
      />
    </FormModal>
  );
}

export function useReleaseBackup() {
  const touch = useTouch();
  const toast = useToast();
  return useMutation({
    mutationFn: (id: string) =>
      take(api.DELETE("/api/v1/backup/{backup_id}/hold", { params: { path: { backup_id: id } } })),
    onSuccess: () => toast({ tone: "ok", title: "The restore point is released" }),
    onError: (error) =>
      toast({ tone: "bad", title: "It was not released", text: failureOf(error).detail }),
    onSettled: touch,
  });
}

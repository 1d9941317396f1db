"use client";

import { failureOf } from "@/api-client";
import { ConfirmModal, type ConfirmModalProps, FormModal, type FormModalProps } from "@/ui/modal";

/** As much of a mutation as a dialog needs. */
interface Saving<Input> {
  mutate: (input: Input) => void;
  isPending: boolean;
  error: Error | null;
}

/** A form that is there because it is open and that one call saves: it shows what the call does. */
export function SaveModal({
  save,
  submitLabel = "Save",
  saysFailure = true,
  ...modal
}: Omit<FormModalProps, "open" | "submitLabel" | "onSubmit" | "busy" | "failure"> & {
  save: Saving<undefined>;
  submitLabel?: string;
  /** Not when a field says what is wrong. */
  saysFailure?: boolean;
}) {
  return (
    <FormModal
      open
      submitLabel={submitLabel}
      onSubmit={() => save.mutate(undefined)}
      busy={save.isPending}
      failure={save.error && saysFailure ? failureOf(save.error) : null}
      {...modal}
    />
  );
}

/** A question before one call that takes something away. */
export function RemoveModal<Input = undefined>({
  remove,
  what,
  ...modal
}: Omit<ConfirmModalProps, "open" | "onConfirm" | "busy" | "failure" | "danger"> & {
  remove: Saving<Input>;
  /** What the call is given: the id of what goes. */
  what?: Input;
}) {
  return (
    <ConfirmModal
      open
      danger
      onConfirm={() => remove.mutate(what as Input)}
      busy={remove.isPending}
      failure={remove.error ? failureOf(remove.error) : null}
      {...modal}
    />
  );
}

"use client";

import { Modal as FlowbiteModal, ModalBody, ModalFooter, ModalHeader } from "flowbite-react";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Button } from "./button";
import { TextField } from "./field";
import { type Failure, Notice } from "./states";

export interface ModalProps {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: ReactNode;
  size?: "sm" | "md" | "lg" | "xl" | "2xl";
  children: ReactNode;
  footer?: ReactNode;
  /** What has the focus first, counted from the button that closes it, which is 0. */
  initialFocus?: number;
}

/** Takes the focus, gives it back, closes with Escape; from below on a phone. */
export function Modal({
  open,
  onClose,
  title,
  description,
  size = "md",
  children,
  footer,
  initialFocus = 0,
}: ModalProps) {
  return (
    <FlowbiteModal show={open} initialFocus={initialFocus} {...{ onClose, size }} dismissible>
      <ModalHeader as="h2">
        {title}
        {description && (
          <span className="mt-0.5 block text-sm font-normal text-ink-3">{description}</span>
        )}
      </ModalHeader>
      <ModalBody>{children}</ModalBody>
      {footer && <ModalFooter>{footer}</ModalFooter>}
    </FlowbiteModal>
  );
}

export interface FormModalProps extends Omit<ModalProps, "footer"> {
  submitLabel: string;
  onSubmit: () => void;
  busy?: boolean;
  disabledReason?: string | null;
  failure?: Failure | null;
  danger?: boolean;
  /** Beside the buttons: a step back, a test. */
  extra?: ReactNode;
}

/** A modal around one form: Enter submits, a failure is shown above the buttons. */
export function FormModal({
  submitLabel,
  onSubmit,
  busy,
  disabledReason,
  failure,
  danger,
  extra,
  children,
  ...modal
}: FormModalProps) {
  const form = useId();
  return (
    <Modal
      initialFocus={1}
      {...modal}
      footer={
        <>
          {extra && <div className="mr-auto flex items-center gap-2">{extra}</div>}
          <Button variant="ghost" onClick={modal.onClose}>
            Cancel
          </Button>
          <Button
            variant={danger ? "danger" : "primary"}
            type="submit"
            form={form}
            busy={busy ?? false}
            disabledReason={disabledReason}
          >
            {submitLabel}
          </Button>
        </>
      }
    >
      <form
        id={form}
        noValidate
        className="flex flex-col gap-4"
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          if (!busy && !disabledReason) onSubmit();
        }}
      >
        {children}
        {failure && (
          <Notice tone="bad" title={failure.title}>
            {failure.detail}
          </Notice>
        )}
      </form>
    </Modal>
  );
}

export interface ConfirmModalProps {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ReactNode;
  confirmLabel: string;
  onConfirm: () => void;
  busy?: boolean;
  failure?: Failure | null;
  danger?: boolean;
  /** What must be typed before it can be confirmed: the name of what will be gone. */
  typed?: string;
}

export function ConfirmModal({
  open,
  onClose,
  title,
  children,
  confirmLabel,
  onConfirm,
  busy,
  failure,
  danger,
  typed,
}: ConfirmModalProps) {
  const [text, setText] = useState("");
  const missing = typed !== undefined && text.trim() !== typed;
  return (
    <FormModal
      open={open}
      onClose={() => {
        setText("");
        onClose();
      }}
      title={title}
      submitLabel={confirmLabel}
      onSubmit={onConfirm}
      busy={busy ?? false}
      failure={failure ?? null}
      danger={danger ?? false}
      disabledReason={missing ? `Type ${typed} first` : null}
    >
      <div className="text-sm text-ink-2">{children}</div>
      {typed !== undefined && (
        <TextField
          label={`Type ${typed} to confirm`}
          value={text}
          onChange={setText}
          autoComplete="off"
        />
      )}
    </FormModal>
  );
}

"use client";

import { type ReactNode, useState } from "react";
import { HiOutlineDownload } from "react-icons/hi";
import { Button } from "@/ui/button";
import { CheckField } from "@/ui/field";
import { Modal } from "@/ui/modal";
import { Notice } from "@/ui/states";

/** A recovery kit, shown this once: it closes when it was said to be kept. */
export function RecoveryKitModal({
  kit,
  name,
  onClose,
  above,
}: {
  kit: string;
  /** Of the repository, for the file's name. */
  name: string;
  onClose: () => void;
  above?: ReactNode;
}) {
  const [kept, setKept] = useState(false);
  const [downloaded, setDownloaded] = useState(false);
  const [refused, setRefused] = useState(false);
  return (
    <Modal
      open
      onClose={() => {
        if (kept) onClose();
        else setRefused(true);
      }}
      title="Recovery kit"
      initialFocus={2}
      size="lg"
      footer={
        <Button
          variant="primary"
          onClick={onClose}
          disabledReason={kept ? null : "Download the kit and confirm first"}
        >
          Done
        </Button>
      }
    >
      <div className="flex flex-col gap-4">
        {above}
        <p className="text-ink-2">
          With this kit the repository opens when the passphrase is lost. It is shown only now and
          kept nowhere. Store it away from this server, printed or in a safe.
        </p>
        <textarea
          readOnly
          aria-label="Recovery kit"
          value={kit}
          rows={16}
          className="field-sizing-content max-h-[45dvh] w-full resize-none rounded-md border border-line bg-sunken p-3 font-mono text-xs text-ink"
          onFocus={(event) => event.target.select()}
        />
        <div>
          <Button
            icon={HiOutlineDownload}
            variant={downloaded ? "secondary" : "primary"}
            onClick={() => {
              download(`holdfast-recovery-kit-${fileName(name)}.txt`, kit);
              setDownloaded(true);
            }}
          >
            Download the kit
          </Button>
        </div>
        <CheckField label="I keep the kit in a safe place" checked={kept} onChange={setKept} />
        {refused && !kept && (
          <Notice tone="warn" title="This kit is not shown again">
            Download it and tick the box, then this can be closed.
          </Notice>
        )}
      </div>
    </Modal>
  );
}

function fileName(name: string): string {
  return name.trim().replaceAll(/[^A-Za-z0-9._-]+/g, "-");
}

function download(name: string, text: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

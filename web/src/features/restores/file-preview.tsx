"use client";

import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { HiOutlineDownload } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { Button } from "@/ui/button";
import { CopyButton } from "@/ui/copy-button";
import { bytes } from "@/ui/format";
import { Modal } from "@/ui/modal";
import { EmptyState, ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { Segments } from "@/ui/tabs";
import { useDownloads } from "./downloads";
import { FileVersions } from "./file-versions";
import { downloadAddress, type FileEntry, placeOf } from "./places";
import { previewQuery, type RestoreMount } from "./queries";

const LARGEST_PICTURE_BYTES = 32 * 1024 ** 2;

/** A look at one file without downloading it. What it holds is shown as text or as a picture, never run. */
export function FilePreview({
  mount,
  entry,
  onClose,
  onGo,
}: {
  mount: RestoreMount;
  entry: FileEntry;
  onClose: () => void;
  /** Shows the same folder in another backup. */
  onGo: (backupId: string) => void;
}) {
  const [view, setView] = useState<"content" | "versions">("content");
  const downloads = useDownloads();
  return (
    <Modal
      open
      onClose={onClose}
      size="2xl"
      title={entry.name}
      description={`${entry.path} · ${bytes(entry.size)}`}
      footer={
        <Button
          variant="primary"
          icon={HiOutlineDownload}
          onClick={() => downloads.start(mount.mount_id, [entry])}
        >
          Download
        </Button>
      }
    >
      {mount.vm_id && (
        <div className="mb-3">
          <Segments
            label="What is shown"
            current={view}
            onChange={setView}
            items={[
              { key: "content", title: "Content" },
              { key: "versions", title: "Versions" },
            ]}
          />
        </div>
      )}
      {view === "versions" && mount.vm_id ? (
        <FileVersions
          vmId={mount.vm_id}
          place={placeOf(entry)}
          currentId={mount.backup_id}
          onGo={onGo}
        />
      ) : (
        <Content mountId={mount.mount_id} entry={entry} />
      )}
    </Modal>
  );
}

function Content({ mountId, entry }: { mountId: string; entry: FileEntry }) {
  const preview = useQuery(previewQuery(mountId, placeOf(entry)));
  if (preview.error)
    return <ErrorState failure={failureOf(preview.error)} onRetry={() => preview.refetch()} />;
  const shown = preview.data;
  if (!shown) return <SkeletonLines lines={8} label="Loading the preview" />;
  if (shown.kind === "picture")
    return <Picture mountId={mountId} entry={entry} mediaType={shown.media_type} />;
  if (shown.kind !== "text")
    return (
      <EmptyState title={shown.kind === "empty" ? "The file is empty" : "No preview"}>
        {shown.kind === "empty"
          ? "It has no content: 0 bytes."
          : "It is neither text nor a picture. Download it to open it with what made it."}
      </EmptyState>
    );
  return (
    <div className="relative">
      {shown.truncated && (
        <Notice tone="info" className="mb-3">
          This is the beginning of the file. Download it to have all of it.
        </Notice>
      )}
      <div className="absolute right-2 mt-1">
        <CopyButton text={shown.text ?? ""} label="Copy the text" />
      </div>
      <pre
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reached by keys
        tabIndex={0}
        className="scroll-thin max-h-[60vh] overflow-auto rounded-md border border-line bg-sunken p-3 pr-12 font-mono text-xs leading-5 break-words whitespace-pre-wrap text-ink"
      >
        {shown.text}
      </pre>
    </div>
  );
}

/** From bytes that this page fetched: the service itself sends guest files as attachments only. */
function Picture({
  mountId,
  entry,
  mediaType,
}: {
  mountId: string;
  entry: FileEntry;
  mediaType: string;
}) {
  const tooLarge = entry.size > LARGEST_PICTURE_BYTES;
  const [broken, setBroken] = useState(false);
  const picture = useQuery({
    queryKey: ["files", mountId, "picture", downloadAddress(mountId, [entry])],
    queryFn: async ({ signal }) => {
      const answer = await fetch(downloadAddress(mountId, [entry]), { signal });
      if (!answer.ok) throw new Error(`The service answered with status ${answer.status}.`);
      return new Blob([await answer.arrayBuffer()], { type: mediaType });
    },
    enabled: !tooLarge,
    gcTime: 0,
  });
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    if (!picture.data) return;
    const made = URL.createObjectURL(picture.data);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [picture.data]);
  if (tooLarge || broken)
    return (
      <EmptyState title="No preview">
        {tooLarge
          ? "The picture is too large to show here. Download it."
          : "The picture is damaged, or not what its first bytes say."}
      </EmptyState>
    );
  if (picture.error)
    return <ErrorState failure={failureOf(picture.error)} onRetry={() => picture.refetch()} />;
  if (!address) return <SkeletonLines lines={6} label="Loading the picture" />;
  return (
    <img
      src={address}
      alt={entry.name}
      className="mx-auto max-h-[60vh] max-w-full rounded-md border border-line object-contain"
      onError={() => setBroken(true)}
    />
  );
}

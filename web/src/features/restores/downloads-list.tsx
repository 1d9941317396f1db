"use client";

import { useState } from "react";
import {
  HiCheckCircle,
  HiChevronDown,
  HiChevronUp,
  HiExclamationCircle,
  HiExternalLink,
  HiOutlineDocumentDownload,
  HiOutlineRefresh,
  HiX,
} from "react-icons/hi";
import { IconButton } from "@/ui/button";
import { bytes, plural, rate } from "@/ui/format";
import { Progress } from "@/ui/progress";
import { amountOf, type Download, progressOf } from "./download-progress";

/** The download manager: each with its progress, again after a failure, gone when done with. */
export function DownloadsList({
  downloads,
  onRemove,
  onAgain,
  onClear,
}: {
  downloads: Download[];
  onRemove: (id: number) => void;
  onAgain: (download: Download) => void;
  onClear: () => void;
}) {
  const [folded, setFolded] = useState(false);
  const running = downloads.filter((one) => one.state === "running").length;
  return (
    <section
      aria-label="Downloads"
      className="fixed inset-x-2 bottom-2 z-40 flex max-h-[40vh] flex-col rounded-lg border border-line bg-raised shadow-float sm:right-auto sm:left-4 sm:w-96 md:left-18 lg:left-60"
    >
      <div className="flex items-center gap-1 border-b border-line py-1 pr-1 pl-3.5">
        <HiOutlineDocumentDownload className="size-4 flex-none text-ink-3" aria-hidden />
        <h2 className="ml-1.5 flex-1 text-sm font-semibold" role="status">
          {running > 0 ? `Downloading ${plural(running, "item")}` : "Downloads"}
        </h2>
        <IconButton
          icon={folded ? HiChevronUp : HiChevronDown}
          label={folded ? "Unfold the downloads" : "Fold the downloads"}
          expanded={!folded}
          onClick={() => setFolded(!folded)}
        />
        <IconButton
          icon={HiX}
          label="Clear the list"
          onClick={onClear}
          disabledReason={running === downloads.length ? "all are running" : null}
        />
      </div>
      {!folded && (
        <ul className="scroll-thin min-h-0 flex-1 overflow-y-auto">
          {downloads.toReversed().map((one) => (
            <Item key={one.id} download={one} onRemove={onRemove} onAgain={onAgain} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Item({
  download,
  onRemove,
  onAgain,
}: {
  download: Download;
  onRemove: (id: number) => void;
  onAgain: (download: Download) => void;
}) {
  const { state, name, received, bps, waiting } = download;
  return (
    <li className="border-b border-line px-3.5 py-2 text-sm last:border-b-0">
      <div className="flex items-center gap-2">
        {state === "done" && (
          <HiCheckCircle className="size-4 flex-none text-ok" aria-label="Done" />
        )}
        {state === "failed" && (
          <HiExclamationCircle className="size-4 flex-none text-bad" aria-label="Failed" />
        )}
        {state === "handed" && (
          <HiExternalLink className="size-4 flex-none text-accent" aria-label="Handed over" />
        )}
        <span className="min-w-0 flex-1 truncate font-medium" title={name}>
          {name}
        </span>
        {state === "failed" && (
          <IconButton
            size="xs"
            icon={HiOutlineRefresh}
            label={`Try ${name} again`}
            onClick={() => onAgain(download)}
          />
        )}
        <IconButton
          size="xs"
          icon={HiX}
          label={state === "running" ? `Cancel ${name}` : `Remove ${name} from the list`}
          onClick={() => onRemove(download.id)}
        />
      </div>
      {state === "running" && (
        <Progress
          className="mt-1"
          size="sm"
          label={`Download of ${name}`}
          value={progressOf(download)}
        />
      )}
      <p className="mt-0.5 text-xs tabular-nums text-ink-3">
        {state === "running" &&
          (received === 0
            ? "The service prepares it"
            : [amountOf(download), waiting ? "waiting for data" : bps && rate(bps)]
                .filter(Boolean)
                .join(" · "))}
        {state === "done" && bytes(received)}
        {state === "failed" && <span className="text-bad">{download.problem}</span>}
        {state === "handed" && "The browser downloads it: see its own list"}
      </p>
    </li>
  );
}

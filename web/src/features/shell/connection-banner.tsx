"use client";

import { HiOutlineStatusOffline } from "react-icons/hi";
import { useConnection } from "@/features/live/socket";

export function ConnectionBanner() {
  if (useConnection() !== "lost") return null;
  return (
    <div
      role="status"
      className="flex flex-none items-center justify-center gap-2 bg-warn-soft px-4 py-2 text-sm text-warn"
    >
      <HiOutlineStatusOffline className="size-4 flex-none" aria-hidden />
      <span>
        <strong className="font-semibold">Connection lost.</strong> What you see may be out of date.
        Trying again by itself.
      </span>
    </div>
  );
}

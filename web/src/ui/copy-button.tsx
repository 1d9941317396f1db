"use client";

import { useState } from "react";
import { HiCheck, HiOutlineClipboardCopy } from "react-icons/hi";
import { IconButton } from "./button";
import { useToast } from "./toast";

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const toast = useToast();
  return (
    <IconButton
      icon={copied ? HiCheck : HiOutlineClipboardCopy}
      label={copied ? "Copied" : label}
      onClick={() => {
        navigator.clipboard.writeText(text).then(
          () => {
            setCopied(true);
            setTimeout(() => setCopied(false), 2000);
          },
          () =>
            toast({
              tone: "warn",
              title: "The browser did not allow copying",
              text: "Select the text and copy it yourself.",
            }),
        );
      }}
    />
  );
}

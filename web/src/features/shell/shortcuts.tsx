"use client";

import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { Modal } from "@/ui/modal";
import { Kbd } from "@/ui/page";
import { SECTIONS } from "./sections";

const SHOW = "holdfast:shortcuts";

export function showShortcuts() {
  window.dispatchEvent(new Event(SHOW));
}

export interface ShortcutHandlers {
  palette: () => void;
  navigation: () => void;
  panel: () => void;
}

/** Keys that work everywhere but in fields, and the page that lists them (`?`). */
export function Shortcuts({ palette, navigation, panel }: ShortcutHandlers) {
  const [shown, setShown] = useState(false);
  const router = useRouter();
  useEffect(() => {
    let prefix = 0;
    const show = () => setShown(true);
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        palette();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (Date.now() - prefix < 1200) {
        prefix = 0;
        const section = SECTIONS.find((one) => one.key === event.key);
        if (section) {
          event.preventDefault();
          router.push(section.href);
          return;
        }
      }
      if (event.key === "g") prefix = Date.now();
      else if (event.key === "?") show();
      else if (event.key === "[") navigation();
      else if (event.key === "]") panel();
      else if (event.key === "/") {
        const field = document.querySelector<HTMLElement>("[data-page-search]");
        if (field) {
          event.preventDefault();
          field.focus();
        }
      }
    };
    window.addEventListener("keydown", onKey);
    window.addEventListener(SHOW, show);
    return () => {
      window.removeEventListener("keydown", onKey);
      window.removeEventListener(SHOW, show);
    };
  }, [palette, navigation, panel, router]);
  const rows: Array<[string[], string]> = [
    [["Ctrl", "K"], "Search sections, virtual machines and actions"],
    [["/"], "Go to the search of the page"],
    [["["], "Fold or unfold the navigation"],
    [["]"], "Fold or unfold the context panel"],
    [["↑", "↓"], "Move between the rows of a table"],
    [["Enter"], "Show the row in the context panel"],
    [["?"], "This list"],
    ...SECTIONS.map((section): [string[], string] => [
      ["g", section.key],
      `Go to ${section.label}`,
    ]),
  ];
  return (
    <Modal open={shown} onClose={() => setShown(false)} title="Keyboard shortcuts" size="md">
      <ul className="flex flex-col gap-2.5">
        {rows.map(([keys, text]) => (
          <li key={text} className="flex items-center justify-between gap-4">
            <span className="text-ink-2">{text}</span>
            <span className="flex flex-none gap-1">
              {keys.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </span>
          </li>
        ))}
      </ul>
    </Modal>
  );
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return (
    target.isContentEditable ||
    ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName) ||
    target.closest("[role=dialog], [role=menu]") !== null
  );
}

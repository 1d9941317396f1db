"use client";

import { Modal as FlowbiteModal } from "flowbite-react";
import { type KeyboardEvent, useId, useMemo, useRef, useState } from "react";
import { HiSearch } from "react-icons/hi";
import type { Icon } from "./button";
import { cx } from "./class-names";
import { Kbd } from "./page";

export interface Command {
  key: string;
  group: string;
  label: string;
  detail?: string;
  icon?: Icon;
  shortcut?: string;
  run: () => void;
}

/** Everything by name. Commands are matched here by every word; `found` are already the answer to
 * the text (names of VMs from the service). */
export function CommandPalette({
  open,
  onClose,
  commands,
  found,
  searching,
  onText,
}: {
  open: boolean;
  onClose: () => void;
  commands: Command[];
  found: Command[];
  searching: boolean;
  onText: (text: string) => void;
}) {
  return (
    <FlowbiteModal
      show={open}
      onClose={onClose}
      dismissible
      size="lg"
      aria-label="Command palette"
      theme={{
        content: {
          inner:
            "flex max-h-[70dvh] flex-col overflow-hidden rounded-t-xl border border-line bg-raised shadow-float sm:rounded-xl",
        },
      }}
    >
      <Palette
        commands={commands}
        found={found}
        searching={searching}
        onText={onText}
        onClose={onClose}
      />
    </FlowbiteModal>
  );
}

function Palette({
  commands,
  found,
  searching,
  onText,
  onClose,
}: {
  commands: Command[];
  found: Command[];
  searching: boolean;
  onText: (text: string) => void;
  onClose: () => void;
}) {
  const [text, setText] = useState("");
  const [place, setPlace] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const shown = useMemo(() => {
    const parts = text.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = commands.filter((command) => {
      const name = `${command.group} ${command.label} ${command.detail ?? ""}`.toLowerCase();
      return parts.every((part) => name.includes(part));
    });
    return text.trim() ? [...matching, ...found] : matching;
  }, [commands, found, text]);
  const current = Math.min(place, shown.length - 1);

  function move(to: number) {
    setPlace(to);
    list.current?.querySelector(`[data-place="${to}"]`)?.scrollIntoView({ block: "nearest" });
  }
  function choose(command: Command | undefined) {
    if (!command) return;
    onClose();
    command.run();
  }
  function onKey(event: KeyboardEvent) {
    if (event.key === "ArrowDown") move(Math.min(current + 1, shown.length - 1));
    else if (event.key === "ArrowUp") move(Math.max(current - 1, 0));
    else if (event.key === "Enter") choose(shown[current]);
    else return;
    event.preventDefault();
  }
  let group = "";
  return (
    <>
      <div className="flex h-12 flex-none items-center gap-2.5 border-b border-line px-4">
        <HiSearch className="size-4 flex-none text-ink-3" aria-hidden />
        <input
          role="combobox"
          aria-expanded
          aria-controls={`${id}-list`}
          aria-activedescendant={shown[current] ? `${id}-${current}` : undefined}
          aria-label="Search sections, virtual machines and actions"
          placeholder="Search sections, virtual machines and actions"
          className="h-full min-w-0 flex-1 bg-transparent text-base text-ink outline-none placeholder:text-ink-3"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setPlace(0);
            onText(event.target.value);
          }}
          onKeyDown={onKey}
        />
        <Kbd>Esc</Kbd>
      </div>
      <div
        ref={list}
        id={`${id}-list`}
        role="listbox"
        aria-label="Results"
        className="scroll-thin min-h-24 flex-1 overflow-y-auto p-2"
      >
        {shown.map((command, index) => {
          const heading = command.group !== group;
          group = command.group;
          return (
            <div key={command.key} role="presentation">
              {heading && (
                <div role="presentation" className="px-2 pt-2 pb-1 text-xs text-ink-3">
                  {command.group}
                </div>
              )}
              <div
                id={`${id}-${index}`}
                data-place={index}
                role="option"
                aria-selected={index === current}
                tabIndex={-1}
                className={cx(
                  "flex h-9 cursor-pointer items-center gap-2.5 rounded-md px-2 text-sm",
                  index === current ? "bg-sunken text-ink" : "text-ink-2",
                )}
                onMouseMove={() => setPlace(index)}
                onClick={() => choose(command)}
                onKeyDown={onKey}
              >
                {command.icon && (
                  <command.icon className="size-4 flex-none text-ink-3" aria-hidden />
                )}
                <span className="min-w-0 flex-1 truncate">{command.label}</span>
                {command.detail && (
                  <span className="max-w-[45%] truncate text-xs text-ink-3">{command.detail}</span>
                )}
                {command.shortcut && <Kbd>{command.shortcut}</Kbd>}
              </div>
            </div>
          );
        })}
        {shown.length === 0 && (
          <p className="px-2 py-6 text-center text-sm text-ink-3" role="status">
            {searching ? "Searching…" : "Nothing has this name."}
          </p>
        )}
      </div>
    </>
  );
}

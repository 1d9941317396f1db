"use client";

import {
  HiOutlineKey,
  HiOutlineLogout,
  HiOutlineMoon,
  HiOutlineQuestionMarkCircle,
  HiOutlineSun,
} from "react-icons/hi";
import { useSession, useSignOut } from "@/features/session/session";
import { Menu } from "@/ui/menu";
import { setThemeMode, useThemeMode } from "@/ui/theme-mode";
import { showShortcuts } from "./shortcuts";

export function UserMenu({ compact }: { compact: boolean }) {
  const { user } = useSession();
  const signOut = useSignOut();
  const mode = useThemeMode();
  const name = user?.display_name || user?.name || "Account";
  const initials = name
    .split(/[\s._-]+/)
    .slice(0, 2)
    .map((part) => part.charAt(0).toUpperCase())
    .join("");
  const role = user?.grants.map((grant) => grant.role).join(", ") ?? "";
  return (
    <div className={compact ? "" : "min-w-0 flex-1"}>
      <Menu
        label="Account"
        placement="top-start"
        header={
          <div className="max-w-56">
            <div className="truncate font-medium">{name}</div>
            <div className="truncate text-xs text-ink-3">{role}</div>
          </div>
        }
        trigger={
          <button
            type="button"
            aria-label={compact ? `Account of ${name}` : undefined}
            title={name}
            className="flex w-full min-w-0 items-center gap-2.5 rounded-md p-1 text-left hover:bg-hover"
          >
            <span
              aria-hidden
              className="flex size-7 flex-none items-center justify-center rounded-full bg-sunken text-2xs font-semibold text-ink-2"
            >
              {initials}
            </span>
            {!compact && <span className="min-w-0 flex-1 truncate font-medium">{name}</span>}
          </button>
        }
        items={[
          { label: "Your sign-in", icon: HiOutlineKey, href: "/settings/account" },
          {
            label: "Light",
            icon: HiOutlineSun,
            checked: mode === "light",
            onSelect: () => setThemeMode("light"),
          },
          {
            label: "Dark",
            icon: HiOutlineMoon,
            checked: mode === "dark",
            onSelect: () => setThemeMode("dark"),
          },
          {
            label: "Like the system",
            checked: mode === "system",
            onSelect: () => setThemeMode("system"),
          },
          null,
          {
            label: "Keyboard shortcuts",
            icon: HiOutlineQuestionMarkCircle,
            onSelect: showShortcuts,
          },
          { label: "Sign out", icon: HiOutlineLogout, onSelect: () => signOut.mutate() },
        ]}
      />
    </div>
  );
}

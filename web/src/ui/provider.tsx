"use client";

import { ThemeProvider } from "flowbite-react";
import type { ReactNode } from "react";
import { theme } from "./flowbite-theme";
import { ToastProvider } from "./toast";

const cleared = Object.fromEntries(Object.keys(theme).map((name) => [name, true]));

/** Once, around everything. */
export function UiProvider({ children }: { children: ReactNode }) {
  return (
    <ThemeProvider root theme={theme} clearTheme={cleared}>
      <ToastProvider>{children}</ToastProvider>
    </ThemeProvider>
  );
}

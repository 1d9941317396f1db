import type { ReactNode } from "react";

/** Where a section's page is shown; scrolls by itself. */
export function MainContentArea({ children }: { children: ReactNode }) {
  return (
    <main id="content" tabIndex={-1} className="scroll-thin min-h-0 flex-1 overflow-y-auto">
      {children}
    </main>
  );
}

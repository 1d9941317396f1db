import { type ReactNode, Suspense } from "react";
import { SessionGate } from "@/features/session/session";
import { Splash } from "@/features/session/splash";
import { Shell } from "@/features/shell/shell";

export default function AppLayout({ children }: { children: ReactNode }) {
  return (
    <Suspense fallback={<Splash />}>
      <SessionGate>
        <Shell>{children}</Shell>
      </SessionGate>
    </Suspense>
  );
}

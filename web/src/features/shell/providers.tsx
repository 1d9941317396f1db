"use client";

import { QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { makeQueryClient } from "@/api-client";
import { signInAddress } from "@/features/session/session";
import { UiProvider } from "@/ui/provider";

export function Providers({ children }: { children: ReactNode }) {
  const [client] = useState(() =>
    makeQueryClient(() => {
      const { pathname } = window.location;
      if (pathname !== "/login") window.location.replace(signInAddress(pathname));
    }),
  );
  return (
    <QueryClientProvider client={client}>
      <UiProvider>{children}</UiProvider>
    </QueryClientProvider>
  );
}

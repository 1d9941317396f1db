"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { usePathname, useRouter } from "next/navigation";
import { createContext, type ReactNode, useCallback, useContext, useEffect } from "react";
import { ApiError, api, failureOf, type Schemas, take } from "@/api-client";
import { ErrorState } from "@/ui/states";
import { Splash } from "./splash";

export type Session = Schemas["SessionInfo"];
export type Permission =
  | "view"
  | "backup.run"
  | "backup.delete"
  | "files.read"
  | "restore.run"
  | "repository.maintain"
  | "inventory.manage"
  | "platform.manage"
  | "repository.manage"
  | "logs.read"
  | "audit.read"
  | "access.manage"
  | "system.manage";

const Context = createContext<Session | null>(null);

export function sessionQuery() {
  return {
    queryKey: ["session"],
    queryFn: () => take(api.GET("/api/v1/auth/session")),
    staleTime: 60_000,
    meta: { signIn: true },
  };
}

/** Shows its children to who is signed in; sends everyone else to the sign-in and back. */
export function SessionGate({ children }: { children: ReactNode }) {
  const session = useQuery(sessionQuery());
  const router = useRouter();
  const pathname = usePathname();
  const refused = session.error instanceof ApiError && session.error.signedOut;
  const unfinished = session.data !== undefined && session.data.state !== "signed_in";
  const away = refused || unfinished;
  useEffect(() => {
    if (away) router.replace(signInAddress(pathname));
  }, [away, pathname, router]);

  if (session.data?.state === "signed_in")
    return <Context value={session.data}>{children}</Context>;
  if (session.error && !refused) {
    return (
      <main className="flex min-h-dvh items-center justify-center">
        <ErrorState failure={failureOf(session.error)} onRetry={() => session.refetch()} />
      </main>
    );
  }
  return <Splash />;
}

export function signInAddress(pathname: string): string {
  const here = `${pathname}${window.location.search}`;
  return here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`;
}

/** Where to go after signing in: only to a page of ours, whatever the address says. */
export function safeNext(next: string | null): string {
  if (
    !next?.startsWith("/") ||
    next.startsWith("//") ||
    next.includes("\\") ||
    next.startsWith("/login")
  )
    return "/";
  return next;
}

export function useSession(): Session {
  const session = useContext(Context);
  if (!session) throw new Error("useSession outside of SessionGate");
  return session;
}

/** Null when the user may, else why not, in words for a disabled button. */
export function useDenied(permission: Permission): string | null {
  return useDenials()(permission);
}

/** `useDenied` for what differs from row to row. */
export function useDenials(): (permission: Permission) => string | null {
  const session = useContext(Context);
  return useCallback(
    (permission) =>
      session?.permissions?.includes(permission)
        ? null
        : `Your role does not allow this (${permission})`,
    [session],
  );
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => take(api.POST("/api/v1/auth/logout")),
    onSettled: () => {
      client.clear();
      window.location.assign("/login");
    },
  });
}

import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./problem";

const TRIES = 3;

/** Only what may pass by itself is tried again: a network that failed, a busy service. */
export function shouldRetry(failures: number, error: unknown): boolean {
  return error instanceof ApiError && error.retry !== "never" && failures < TRIES;
}

export function retryDelay(failures: number): number {
  return Math.min(15_000, 500 * 2 ** failures) * (0.75 + Math.random() / 2);
}

/** `onSignedOut` is called for a 401 of any call but the sign-in itself. */
export function makeQueryClient(onSignedOut: () => void): QueryClient {
  const watch = (error: unknown, meta: Record<string, unknown> | undefined) => {
    if (error instanceof ApiError && error.signedOut && !meta?.signIn) onSignedOut();
  };
  return new QueryClient({
    queryCache: new QueryCache({ onError: (error, query) => watch(error, query.meta) }),
    mutationCache: new MutationCache({
      onError: (error, _variables, _result, mutation) => watch(error, mutation.meta),
    }),
    defaultOptions: {
      queries: {
        // Events say what changed; the interval only catches what an event could have missed.
        staleTime: 15_000,
        gcTime: 5 * 60_000,
        retry: shouldRetry,
        retryDelay,
        refetchOnWindowFocus: true,
        networkMode: "always",
      },
      mutations: { retry: false, networkMode: "always" },
    },
  });
}

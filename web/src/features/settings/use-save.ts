"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { failureOf } from "@/api-client";
import { useToast } from "@/ui/toast";

/** A change of settings: refetches `key`, says that it is done. The form shows the failure unless
 * `sayFailure`. */
export function useSave<Input, Output>({
  save,
  keys,
  done,
  onDone,
  sayFailure,
}: {
  save: (input: Input) => Promise<Output>;
  keys: string[];
  done?: string | ((output: Output) => string);
  onDone?: (output: Output) => void;
  sayFailure?: string;
}) {
  const client = useQueryClient();
  const toast = useToast();
  return useMutation({
    mutationFn: save,
    onSuccess: (output) => {
      for (const key of keys) void client.invalidateQueries({ queryKey: [key] });
      if (done) toast({ tone: "ok", title: typeof done === "string" ? done : done(output) });
      onDone?.(output);
    },
    onError: (error) => {
      if (sayFailure) toast({ tone: "bad", title: sayFailure, text: failureOf(error).detail });
    },
  });
}

"use client";

import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useState,
} from "react";
import {
  HiCheckCircle,
  HiExclamation,
  HiExclamationCircle,
  HiInformationCircle,
  HiX,
} from "react-icons/hi";
import type { Icon } from "./button";
import { cx } from "./class-names";

export interface ToastOptions {
  tone?: "info" | "ok" | "warn" | "bad";
  title: string;
  text?: string;
  action?: { label: string; onSelect: () => void };
}

interface Shown extends ToastOptions {
  id: number;
}

const LIFETIMES_MS = { info: 5000, ok: 5000, warn: 6000, bad: 8000 };
const ICONS: Record<NonNullable<ToastOptions["tone"]>, [Icon, string]> = {
  info: [HiInformationCircle, "text-accent"],
  ok: [HiCheckCircle, "text-ok"],
  warn: [HiExclamation, "text-warn"],
  bad: [HiExclamationCircle, "text-bad"],
};
const Context = createContext<(options: ToastOptions) => void>(() => undefined);

/** Says something that happened: `const toast = useToast(); toast({ tone: "ok", title: "…" })`. */
export function useToast() {
  return useContext(Context);
}

export function ToastProvider({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<Shown[]>([]);
  const next = useRef(1);
  const close = useCallback(
    (id: number) => setToasts((all) => all.filter((one) => one.id !== id)),
    [],
  );
  const show = useCallback((options: ToastOptions) => {
    const id = next.current;
    next.current += 1;
    setToasts((all) => [...all.slice(-3), { ...options, id }]);
  }, []);
  return (
    <Context.Provider value={show}>
      {children}
      <section
        aria-label="Messages"
        aria-live="polite"
        className="pointer-events-none fixed right-0 bottom-0 z-[70] flex w-full max-w-sm flex-col gap-2 p-4"
      >
        {toasts.map((toast) => (
          <Toast key={toast.id} toast={toast} onClose={close} />
        ))}
      </section>
    </Context.Provider>
  );
}

function Toast({ toast, onClose }: { toast: Shown; onClose: (id: number) => void }) {
  const tone = toast.tone ?? "info";
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (held) return;
    const timer = setTimeout(() => onClose(toast.id), LIFETIMES_MS[tone]);
    return () => clearTimeout(timer);
  }, [held, onClose, toast.id, tone]);
  const [IconComponent, colour] = ICONS[tone];
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: hovering only keeps it longer
    <div
      className="pointer-events-auto flex animate-[rise-in_140ms_ease-out] items-start gap-2.5 rounded-lg border border-line bg-raised p-3 text-sm shadow-float"
      onMouseEnter={() => setHeld(true)}
      onMouseLeave={() => setHeld(false)}
    >
      <IconComponent className={cx("mt-0.5 size-4 flex-none", colour)} aria-hidden />
      <div className="min-w-0 flex-1">
        <p className="font-medium text-ink">{toast.title}</p>
        {toast.text && <p className="mt-0.5 break-words text-ink-2">{toast.text}</p>}
        {toast.action && (
          <button
            type="button"
            className="mt-1 font-medium text-accent hover:underline"
            onClick={() => {
              toast.action?.onSelect();
              onClose(toast.id);
            }}
          >
            {toast.action.label}
          </button>
        )}
      </div>
      <button
        type="button"
        aria-label="Dismiss"
        className="text-ink-3 hover:text-ink"
        onClick={() => onClose(toast.id)}
      >
        <HiX className="size-4" aria-hidden />
      </button>
    </div>
  );
}

import { Mark } from "@/ui/mark";

/** While nobody knows yet who is there. */
export function Splash() {
  return (
    <main className="flex min-h-dvh items-center justify-center" aria-busy="true">
      <span className="animate-pulse">
        <Mark className="size-10" />
      </span>
      <h1 className="sr-only">Holdfast is loading</h1>
    </main>
  );
}

import Link from "next/link";
import { Mark } from "@/ui/mark";

export default function NotFound() {
  return (
    <main className="flex min-h-dvh flex-col items-center justify-center gap-3 px-4 text-center">
      <Mark className="size-10" />
      <h1 className="text-xl font-semibold">There is no such page</h1>
      <p className="text-ink-3">The address may be mistyped or from an older version.</p>
      <Link href="/" className="rounded font-medium text-accent hover:underline">
        To the dashboard
      </Link>
    </main>
  );
}

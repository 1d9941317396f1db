import type { Metadata } from "next";
import { BackupPage } from "@/features/backups/backup-page";

export const metadata: Metadata = { title: "Backup" };

// One page for every id; the service answers `/backups/{id}` with it.
export function generateStaticParams() {
  return [{ id: "_" }];
}
export const dynamicParams = false;

export default function Page() {
  return <BackupPage />;
}

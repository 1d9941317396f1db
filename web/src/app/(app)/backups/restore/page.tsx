import type { Metadata } from "next";
import { RestorePage } from "@/features/restores/restore-page";

export const metadata: Metadata = { title: "Browse files" };

export default function Page() {
  return <RestorePage />;
}

import type { Metadata } from "next";
import { RepositoriesPage } from "@/features/settings/repositories/repositories-page";

export const metadata: Metadata = { title: "Repositories" };

export default function Page() {
  return <RepositoriesPage />;
}

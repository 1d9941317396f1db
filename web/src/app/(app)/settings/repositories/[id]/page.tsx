import type { Metadata } from "next";
import { RepositoryPage } from "@/features/settings/repositories/repository-page";

export const metadata: Metadata = { title: "Repository" };

// One page for every id; the service answers `/settings/repositories/{id}` with it.
export function generateStaticParams() {
  return [{ id: "_" }];
}
export const dynamicParams = false;

export default function Page() {
  return <RepositoryPage />;
}

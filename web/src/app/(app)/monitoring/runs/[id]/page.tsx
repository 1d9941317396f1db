import type { Metadata } from "next";
import { RunPage } from "@/features/runs/run-page";

export const metadata: Metadata = { title: "Run" };

// One page for every id; the service answers `/monitoring/runs/{id}` with it.
export function generateStaticParams() {
  return [{ id: "_" }];
}
export const dynamicParams = false;

export default function Page() {
  return <RunPage />;
}

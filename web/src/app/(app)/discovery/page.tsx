import type { Metadata } from "next";
import { DiscoveryPage } from "@/features/discovery/discovery-page";

export const metadata: Metadata = { title: "Discovery" };

export default function Page() {
  return <DiscoveryPage />;
}

import type { Metadata } from "next";
import { PlatformsPage } from "@/features/settings/platforms/platforms-page";

export const metadata: Metadata = { title: "Platforms" };

export default function Page() {
  return <PlatformsPage />;
}

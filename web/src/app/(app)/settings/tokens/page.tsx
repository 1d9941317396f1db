import type { Metadata } from "next";
import { TokensPage } from "@/features/settings/access/tokens-page";

export const metadata: Metadata = { title: "Tokens" };

export default function Page() {
  return <TokensPage />;
}

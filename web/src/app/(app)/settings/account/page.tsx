import type { Metadata } from "next";
import { AccountPage } from "@/features/settings/access/account-page";

export const metadata: Metadata = { title: "Your sign-in" };

export default function Page() {
  return <AccountPage />;
}

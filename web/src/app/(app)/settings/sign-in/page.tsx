import type { Metadata } from "next";
import { SignInPage } from "@/features/settings/access/sign-in-page";

export const metadata: Metadata = { title: "Sign-in" };

export default function Page() {
  return <SignInPage />;
}

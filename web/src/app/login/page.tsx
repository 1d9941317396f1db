import type { Metadata } from "next";
import { Suspense } from "react";
import { LoginPage } from "@/features/session/login-page";
import { Splash } from "@/features/session/splash";

export const metadata: Metadata = { title: "Sign in" };

export default function Page() {
  return (
    <Suspense fallback={<Splash />}>
      <LoginPage />
    </Suspense>
  );
}

import type { Metadata } from "next";
import { VmPage } from "@/features/vms/vm-page";

export const metadata: Metadata = { title: "Virtual machine" };

// One page for every id; the service answers `/virtual-machines/{id}` with it.
export function generateStaticParams() {
  return [{ id: "_" }];
}
export const dynamicParams = false;

export default function Page() {
  return <VmPage />;
}

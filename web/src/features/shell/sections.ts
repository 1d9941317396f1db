import {
  HiOutlineChartBar,
  HiOutlineCog,
  HiOutlineDatabase,
  HiOutlineDesktopComputer,
  HiOutlineDocumentText,
  HiOutlineHome,
  HiOutlineSearch,
} from "react-icons/hi";
import type { Icon } from "@/ui/button";

export interface Section {
  id: string;
  label: string;
  href: string;
  description: string;
  icon: Icon;
  /** The key after `g`. */
  key: string;
}

/** In the plan's order. Replication Jobs, Failover, Network Mapping, Schedules, Machine Groups and VM
 * Assignment come in when their backends exist. */
export const SECTIONS: Section[] = [
  {
    id: "dashboard",
    label: "Dashboard",
    href: "/",
    description: "How everything is",
    icon: HiOutlineHome,
    key: "d",
  },
  {
    id: "discovery",
    label: "Discovery",
    href: "/discovery",
    description: "Find virtual machines to protect",
    icon: HiOutlineSearch,
    key: "i",
  },
  {
    id: "virtual-machines",
    label: "Virtual Machines",
    href: "/virtual-machines",
    description: "What is protected, and how",
    icon: HiOutlineDesktopComputer,
    key: "v",
  },
  {
    id: "backups",
    label: "Backups",
    href: "/backups",
    description: "Backup operations and recovery",
    icon: HiOutlineDatabase,
    key: "b",
  },
  {
    id: "logs",
    label: "Logs",
    href: "/logs",
    description: "What the service did",
    icon: HiOutlineDocumentText,
    key: "l",
  },
  {
    id: "monitoring",
    label: "Monitoring",
    href: "/monitoring",
    description: "What it is doing now",
    icon: HiOutlineChartBar,
    key: "m",
  },
  {
    id: "settings",
    label: "Settings",
    href: "/settings/platforms",
    description: "Platforms, repositories, people",
    icon: HiOutlineCog,
    key: "s",
  },
];

export function sectionOf(pathname: string): Section | undefined {
  const first = pathname.split("/")[1] ?? "";
  return SECTIONS.find((section) => section.href.split("/")[1] === first);
}

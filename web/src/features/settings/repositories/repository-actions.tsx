"use client";

import { type ReactNode, useState } from "react";
import {
  HiOutlineAdjustments,
  HiOutlineArchive,
  HiOutlineBadgeCheck,
  HiOutlineDuplicate,
  HiOutlineLockClosed,
  HiOutlinePencil,
  HiOutlineScissors,
  HiOutlineShieldCheck,
  HiOutlineTrash,
} from "react-icons/hi";
import { api, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import type { Icon } from "@/ui/button";
import type { MenuItem } from "@/ui/menu";
import { ImmutabilityModal } from "./immutability";
import {
  CheckModal,
  CompactModal,
  CopyModal,
  RepairModal,
  VerifyModal,
} from "./maintenance-dialogs";
import { type DialogProps, MaintenanceModal, type Repository } from "./maintenance-modal";
import { PruneModal } from "./prune-modal";
import { inRepository } from "./queries";
import { ForgetModal, RenameModal } from "./repository-modals";

type Asked =
  | "check"
  | "verify"
  | "prune"
  | "compact"
  | "copy"
  | "repair"
  | "lock"
  | "immutability"
  | "rename"
  | "forget";

const DIALOGS: Record<Asked, (props: DialogProps) => ReactNode> = {
  check: CheckModal,
  verify: VerifyModal,
  prune: PruneModal,
  compact: CompactModal,
  copy: CopyModal,
  repair: RepairModal,
  lock: LocksModal,
  immutability: ImmutabilityModal,
  rename: RenameModal,
  forget: ForgetModal,
};

/** All that can be done with a repository: the items of its menu, and the dialog one of them
 * opened. */
export function useRepositoryActions(repository: Repository) {
  const [asked, setAsked] = useState<Asked | null>(null);
  const mayManage = useDenied("repository.manage");
  const mayMaintain = useDenied("repository.maintain");
  const mayDelete = useDenied("backup.delete");
  const offline = repository.state === "offline" ? "It is offline" : null;
  const item = (
    what: Asked,
    label: string,
    icon: Icon,
    disabledReason: string | null,
    danger = false,
  ): MenuItem => ({ label, icon, onSelect: () => setAsked(what), disabledReason, danger });
  const items: Array<MenuItem | null> = [
    item("check", "Check…", HiOutlineBadgeCheck, mayMaintain ?? offline),
    item("verify", "Verify…", HiOutlineShieldCheck, mayMaintain ?? offline),
    // Also of one that cannot be opened: that may be what is to be repaired.
    item("repair", "Repair…", HiOutlineAdjustments, mayMaintain),
    null,
    item("prune", "Prune…", HiOutlineScissors, mayDelete ?? offline),
    item("compact", "Compact…", HiOutlineArchive, mayMaintain ?? offline),
    item("copy", "Copy to another…", HiOutlineDuplicate, mayMaintain ?? offline),
    null,
    ...(repository.immutable_days > 0
      ? [item("lock", "Renew locks now…", HiOutlineLockClosed, mayMaintain ?? offline)]
      : []),
    item("immutability", "Immutability…", HiOutlineLockClosed, mayManage ?? offline),
    item("rename", "Rename…", HiOutlinePencil, mayManage),
    item("forget", "Forget…", HiOutlineTrash, mayManage, true),
  ];
  const Dialog = asked && DIALOGS[asked];
  return {
    items,
    dialog: Dialog && <Dialog repository={repository} onClose={() => setAsked(null)} />,
    ask: setAsked,
    mayMaintain: mayMaintain ?? offline,
    mayDelete: mayDelete ?? offline,
  };
}

function LocksModal({ repository, onClose }: DialogProps) {
  return (
    <MaintenanceModal
      {...{ repository, onClose }}
      title="Renew locks"
      submitLabel="Renew"
      start={() =>
        take(api.POST("/api/v1/repositories/{repository_id}/lock", inRepository(repository.id)))
      }
    >
      <p className="text-sm text-ink-2">
        Locks everything that restore points need for the days of the rule from now on, and tries to
        break a lock, to see that they hold. The service does this every day by itself.
      </p>
    </MaintenanceModal>
  );
}

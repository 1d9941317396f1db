import { Badge, Status, type Tone } from "@/ui/badge";
import { words } from "@/ui/format";
import type { Vm } from "./queries";

const TONES: Record<Vm["protection"], [Tone, string, string]> = {
  protected: ["ok", "Protected", "Its newest restore point is recent"],
  stale: ["warn", "Stale", "It has restore points, but none recent enough"],
  unprotected: ["bad", "Unprotected", "It has no restore point"],
  failing: ["bad", "Failing", "Its last backup failed"],
};

export const PROTECTIONS = Object.entries(TONES).map(([value, [, label]]) => ({ value, label }));

export function ProtectionBadge({ protection }: { protection: Vm["protection"] }) {
  const [tone, label, title] = TONES[protection];
  return (
    <Badge tone={tone} title={title}>
      {label}
    </Badge>
  );
}

export function ProtectionStatus({ protection }: { protection: Vm["protection"] }) {
  const [tone, label, title] = TONES[protection];
  return (
    <Status tone={tone} title={title}>
      {label}
    </Status>
  );
}

const POWER: Record<Vm["power"], Tone> = {
  running: "ok",
  paused: "warn",
  shut_off: "idle",
  unknown: "idle",
};
export const POWERS = ["running", "paused", "shut_off", "unknown"].map((value) => ({
  value,
  label: words(value),
}));

export function PowerStatus({ power }: { power: Vm["power"] }) {
  return <Status tone={POWER[power]}>{words(power)}</Status>;
}

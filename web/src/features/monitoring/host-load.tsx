"use client";

import type { Schemas } from "@/api-client";
import { Card } from "@/ui/card";
import { bytes, percent, plural, rate } from "@/ui/format";
import { Sparkline, useHistory } from "./history";

type Load = Schemas["Monitoring"]["host"];

/** How busy the service's host is: four values and their last minutes. */
export function HostLoad({ load }: { load: Load | undefined }) {
  const memory =
    load && load.memory_total_bytes > 0
      ? (100 * load.memory_used_bytes) / load.memory_total_bytes
      : undefined;
  return (
    <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      <Gauge
        title="CPU"
        value={load?.cpu_percent}
        at={load?.at}
        format={percent}
        max={100}
        detail={load && `Load ${load.load_1.toFixed(2)}, ${plural(load.cpu_count, "core")}`}
      />
      <Gauge
        title="Memory"
        value={memory}
        at={load?.at}
        format={percent}
        max={100}
        detail={load && `${bytes(load.memory_used_bytes)} of ${bytes(load.memory_total_bytes)}`}
      />
      <Gauge
        title="Disk"
        value={load && load.disk_read_bps + load.disk_write_bps}
        at={load?.at}
        format={rate}
        detail={load && `Read ${rate(load.disk_read_bps)}, write ${rate(load.disk_write_bps)}`}
      />
      <Gauge
        title="Network"
        value={load && load.network_receive_bps + load.network_send_bps}
        at={load?.at}
        format={rate}
        detail={load && `In ${rate(load.network_receive_bps)}, out ${rate(load.network_send_bps)}`}
      />
    </div>
  );
}

function Gauge({
  title,
  value,
  at,
  format,
  detail,
  max,
}: {
  title: string;
  value: number | undefined;
  at: string | undefined;
  format: (value: number) => string;
  detail: string | undefined;
  max?: number;
}) {
  const points = useHistory(value, at);
  return (
    <Card>
      <div className="flex items-baseline justify-between gap-2">
        <h2 className="text-xs font-medium text-ink-3">{title}</h2>
        <span className="whitespace-nowrap text-base font-semibold tabular-nums sm:text-lg">
          {value === undefined ? "–" : format(value)}
        </span>
      </div>
      <Sparkline points={points} label={title} format={format} {...(max ? { max } : {})} />
      <p className="text-2xs tabular-nums text-ink-3">{detail ?? " "}</p>
    </Card>
  );
}

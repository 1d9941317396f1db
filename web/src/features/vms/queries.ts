import { api, type Schemas, take } from "@/api-client";

export type Vm = Schemas["VmInfo"];
export type VmDetail = Schemas["VmDetail"];

export interface VmFilter {
  q: string;
  platform: string;
  power: string;
  protection: string;
  tag: string;
}

export interface VmOrder {
  by: string;
  descending: boolean;
}

export function listVms(
  filter: Partial<VmFilter>,
  order: VmOrder,
  limit: number,
  cursor: string | undefined,
) {
  return take(
    api.GET("/api/v1/vms", {
      params: {
        query: {
          limit,
          cursor,
          q: filter.q || undefined,
          platform_id: filter.platform || undefined,
          power: filter.power || undefined,
          protection: filter.protection || undefined,
          tag: filter.tag || undefined,
          sort: order.by,
          order: order.descending ? "desc" : "asc",
        } as never,
      },
    }),
  );
}

export function vmQuery(id: string) {
  return {
    queryKey: ["vms", "one", id],
    queryFn: () => take(api.GET("/api/v1/vms/{vm_id}", { params: { path: { vm_id: id } } })),
  };
}

/** All restore points of a VM, the newest first. */
export function timelineQuery(id: string) {
  return {
    queryKey: ["vms", "timeline", id],
    queryFn: async () => {
      const found = await take(
        api.GET("/api/v1/vms/{vm_id}/timeline", { params: { path: { vm_id: id } } }),
      );
      return { ...found, points: found.points.toReversed() };
    },
  };
}

"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlineSearch } from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { platformsQuery } from "@/features/settings/platforms/queries";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { Page, PageHeader } from "@/ui/page";
import { EmptyState, ErrorState } from "@/ui/states";
import { useUrlState } from "@/ui/url-state";
import { DiscoveredVms } from "./discovered-vms";

export function DiscoveryPage() {
  const { get, set } = useUrlState();
  const platforms = useQuery(platformsQuery());
  const mayDiscover = useDenied("inventory.manage");
  const all = platforms.data?.items ?? [];
  const platform = all.find((one) => one.id === get("platform")) ?? all[0];
  const discovery = useQuery({
    queryKey: ["discovery", platform?.id],
    queryFn: () =>
      take(
        api.POST("/api/v1/platforms/{platform_id}/discover", {
          params: { path: { platform_id: platform?.id ?? "" } },
        }),
      ),
    enabled: false,
    gcTime: 30 * 60_000,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
  return (
    <Page>
      <PageHeader
        title="Discovery"
        description="Find the virtual machines of a platform and add those that shall be protected."
        actions={
          <>
            {all.length > 1 && (
              <FilterSelectPlatform
                platforms={all}
                current={platform?.id ?? ""}
                onChange={(id) => set({ platform: id })}
              />
            )}
            <Button
              variant="primary"
              icon={HiOutlineSearch}
              busy={discovery.isFetching}
              disabledReason={mayDiscover ?? (platform ? null : "Add a platform first")}
              onClick={() => discovery.refetch()}
            >
              {discovery.data ? "Discover again" : "Discover"}
            </Button>
          </>
        }
      />
      {platforms.error && !platforms.data ? (
        <Card>
          <ErrorState failure={failureOf(platforms.error)} onRetry={() => platforms.refetch()} />
        </Card>
      ) : platforms.data && all.length === 0 ? (
        <Card>
          <EmptyState
            title="No platforms yet"
            action={
              <Button variant="primary" href="/settings/platforms?add=1">
                Add a platform
              </Button>
            }
          >
            A platform is a libvirt host, or a folder of disk images.
          </EmptyState>
        </Card>
      ) : discovery.error && !discovery.isFetching ? (
        <Card>
          <ErrorState failure={failureOf(discovery.error)} onRetry={() => discovery.refetch()} />
        </Card>
      ) : discovery.data || discovery.isFetching ? (
        <DiscoveredVms
          key={platform?.id}
          discovery={discovery.isFetching && !discovery.data ? undefined : discovery.data}
          platformId={platform?.id ?? ""}
        />
      ) : (
        <Card>
          <EmptyState
            icon={HiOutlineSearch}
            title={platform ? `${platform.name} was not looked at yet` : "Loading platforms"}
          >
            {platform &&
              "Discover lists its virtual machines. Nothing is added or changed by looking."}
          </EmptyState>
        </Card>
      )}
    </Page>
  );
}

function FilterSelectPlatform({
  platforms,
  current,
  onChange,
}: {
  platforms: Schemas["PlatformInfo"][];
  current: string;
  onChange: (id: string) => void;
}) {
  return (
    <select
      aria-label="Platform"
      value={current}
      onChange={(event) => onChange(event.target.value)}
      className="h-8 max-w-60 rounded-md border border-line-strong bg-surface px-2.5 text-sm hover:border-ink-3"
    >
      {platforms.map((one) => (
        <option key={one.id} value={one.id}>
          {one.state === "unreachable" ? `${one.name} (unreachable)` : one.name}
        </option>
      ))}
    </select>
  );
}

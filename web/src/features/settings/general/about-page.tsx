"use client";

import { useQuery } from "@tanstack/react-query";
import { api, failureOf, take } from "@/api-client";
import { Card } from "@/ui/card";
import { Facts } from "@/ui/page";
import { ErrorState, SkeletonLines } from "@/ui/states";
import { Ago } from "@/ui/values";
import { SettingsFrame } from "../settings-frame";

export function AboutPage() {
  const about = useQuery({
    queryKey: ["about"],
    queryFn: () => take(api.GET("/api/v1/system/about", {})),
  });
  const it = about.data;
  return (
    <SettingsFrame title="About">
      <Card className="max-w-2xl">
        {it ? (
          <Facts
            items={[
              ["Version", it.version],
              ["Licence", it.licence],
              ["Host", it.host],
              ["Started", <Ago key="s" time={it.started_at} />],
              ["Database", it.database === "sqlite" ? "SQLite" : "PostgreSQL"],
              ["Python", it.python],
              [
                "REST API",
                <a key="d" href="/api/docs" className="text-accent hover:underline">
                  Interactive documentation
                </a>,
              ],
              it.source_url
                ? [
                    "Source",
                    <a key="u" href={it.source_url} className="text-accent hover:underline">
                      {it.source_url}
                    </a>,
                  ]
                : null,
            ]}
          />
        ) : about.error ? (
          <ErrorState compact failure={failureOf(about.error)} onRetry={() => about.refetch()} />
        ) : (
          <SkeletonLines lines={5} />
        )}
      </Card>
    </SettingsFrame>
  );
}

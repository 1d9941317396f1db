"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlineRefresh, HiOutlineXCircle } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { isFinal } from "@/features/live/progress";
import { useDenied } from "@/features/session/session";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { sentence, words } from "@/ui/format";
import { Facts, Page, PageHeader } from "@/ui/page";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { usePathId } from "@/ui/url-state";
import { Ago, Moment } from "@/ui/values";
import { type RunInfo, runQuery } from "./queries";
import { RunLog } from "./run-log";
import { RunResultNotice } from "./run-outcome";
import { RunFailure, RunPanel, useLiveRunInfo } from "./run-panel";
import { kindWords, permissionFor, RunBadge, runName } from "./run-state";
import { useRunActions } from "./runs-table";

/** Any run: a restore that goes on, a check that failed. */
export function RunPage() {
  const id = usePathId();
  const run = useQuery({
    ...runQuery(id ?? ""),
    enabled: Boolean(id),
    refetchInterval: ({ state }) => (state.data && isFinal(state.data.state) ? false : 5000),
  });
  const crumbs = [{ label: "Monitoring", href: "/monitoring" }, { label: "Run" }];
  if (run.data) return <Loaded run={run.data} />;
  return (
    <Page>
      <PageHeader title={run.error ? "Run" : "…"} crumbs={crumbs} />
      <Card>
        {run.error ? (
          <ErrorState failure={failureOf(run.error)} onRetry={() => run.refetch()} />
        ) : (
          <SkeletonLines lines={8} label="Loading the run" />
        )}
      </Card>
    </Page>
  );
}

function Loaded({ run: given }: { run: RunInfo }) {
  const run = useLiveRunInfo(given);
  const denied = useDenied(permissionFor(run.kind));
  const { cancel, retry } = useRunActions();
  return (
    <Page>
      <PageHeader
        title={runName(run)}
        crumbs={[{ label: "Monitoring", href: "/monitoring" }, { label: kindWords(run.kind) }]}
        badge={<RunBadge state={run.state} />}
        description={
          <>
            Started by {run.created_by || "the service"} <Ago time={run.created_at} />
          </>
        }
        actions={
          <>
            {!isFinal(run.state) && (
              <Button
                icon={HiOutlineXCircle}
                onClick={() => cancel.mutate(run.id)}
                busy={cancel.isPending}
                disabledReason={denied ?? (run.can_cancel ? null : "it is being cancelled")}
              >
                Cancel
              </Button>
            )}
            {run.can_retry && (
              <Button
                icon={HiOutlineRefresh}
                variant="primary"
                onClick={() => retry.mutate(run.id)}
                busy={retry.isPending}
                disabledReason={denied}
              >
                Retry
              </Button>
            )}
          </>
        }
      />
      <RunFailure run={run} />
      {run.state === "completed" && <Done run={run} />}
      <RunPanel run={given} />
      <Card title="About">
        <Facts
          items={[
            ["What", kindWords(run.kind)],
            run.vm_name ? ["VM", run.vm_name] : null,
            ...asked(run.request),
            ["Asked for", <Moment key="c" time={run.created_at} />],
            ["Began", <Moment key="s" time={run.started_at} never="Not yet" />],
            ["Ended", <Moment key="e" time={run.completed_at} never="Not yet" />],
          ]}
        />
      </Card>
      <RunLog runId={run.id} active={!isFinal(run.state)} />
    </Page>
  );
}

/** What a restore left, and where. */
function Done({ run }: { run: RunInfo }) {
  const { output } = run.request;
  if (run.kind === "restore_disk" && typeof output === "string")
    return (
      <Notice tone="ok" title="The disk is restored">
        <span className="font-mono text-xs break-all">{output}</span>
      </Notice>
    );
  if (run.kind === "restore_vm") return <RestoredVm run={run} />;
  return <RunResultNotice run={run} />;
}

function RestoredVm({ run }: { run: RunInfo }) {
  const { vm, disks, notes } = run.result;
  const [name] = textsOf(vm && typeof vm === "object" ? [(vm as { name?: unknown }).name] : []);
  const platform = run.platform_id ? `?platform=${encodeURIComponent(run.platform_id)}` : "";
  return (
    <Notice
      tone="ok"
      title="The VM is restored"
      action={
        <Button size="xs" href={`/discovery${platform}`}>
          Discover it
        </Button>
      }
    >
      <p>
        {name ? `It is on its platform as ${name}.` : "It is on its platform. The log names it."} To
        back it up as well, discover and add it.
      </p>
      <ul className="mt-1 font-mono text-xs break-all">
        {textsOf(disks && Object.values(disks)).map((path) => (
          <li key={path}>{path}</li>
        ))}
      </ul>
      {textsOf(notes).map((note) => (
        <p key={note} className="mt-1">
          {sentence(note)}
        </p>
      ))}
    </Notice>
  );
}

function textsOf(values: unknown): string[] {
  return Array.isArray(values) ? values.filter((value) => typeof value === "string") : [];
}

/** What was asked for, as far as it is text for people. */
function asked(request: Record<string, unknown>): Array<[string, string]> {
  return Object.entries(request)
    .filter(
      ([key, value]) =>
        key !== "point_id" &&
        ["string", "number", "boolean"].includes(typeof value) &&
        value !== "",
    )
    .map(([key, value]) => [
      words(key),
      typeof value === "boolean" ? (value ? "Yes" : "No") : String(value),
    ]);
}

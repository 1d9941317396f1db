"use client";

import Link from "next/link";
import { Card } from "@/ui/card";
import { Menu } from "@/ui/menu";
import { Truncated } from "@/ui/values";
import type { Repository } from "./maintenance-modal";
import { placeOf } from "./queries";
import { useRepositoryActions } from "./repository-actions";
import { RepositoryBadges, RepositoryFacts, RepositoryProblems } from "./repository-facts";

/** One repository in the list of them, and what to do with it. */
export function RepositoryCard({ repository: it }: { repository: Repository }) {
  const { items, dialog } = useRepositoryActions(it);
  return (
    <Card
      title={
        <Link
          href={`/settings/repositories/${encodeURIComponent(it.id)}`}
          className="rounded hover:underline"
          title={it.name}
        >
          {it.name}
        </Link>
      }
      description={<Truncated className="font-mono text-2xs">{placeOf(it)}</Truncated>}
      actions={
        <>
          <RepositoryBadges repository={it} />
          <Menu label={`Actions for ${it.name}`} items={items} />
        </>
      }
    >
      <RepositoryProblems repository={it} />
      <RepositoryFacts repository={it} />
      {dialog}
    </Card>
  );
}

"use client";

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { Button } from "@/ui/button";
import { CheckField, TextField } from "@/ui/field";
import { plural } from "@/ui/format";
import { FormModal } from "@/ui/modal";
import { NumberRow } from "@/ui/number-row";
import { Notice } from "@/ui/states";
import { SaveModal } from "../save-modal";
import { type DialogProps, OutcomeModal, useMaintenance } from "./maintenance-modal";
import { PrunePlan } from "./prune-plan";
import {
  ageProblem,
  FIRST_RULE,
  goingIds,
  KEEPS,
  keepProblem,
  ruleOf,
  ruleProblem,
  type TypedRule,
  tagsProblem,
} from "./prune-rule";
import { inRepository } from "./queries";

const TITLE = "Prune";

/** A rule, what it would do to each restore point, and only then the run that does exactly that. */
export function PruneModal({ repository, onClose }: DialogProps) {
  const [rule, setRule] = useState<TypedRule>(FIRST_RULE);
  const path = inRepository(repository.id);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const asked = { rule: ruleOf(rule), time_zone: zone };
  const preview = useMutation({
    mutationFn: () =>
      take(
        api.POST("/api/v1/repositories/{repository_id}/prune/preview", { ...path, body: asked }),
      ),
  });
  if (preview.data)
    return (
      <Confirm
        {...{ repository, onClose, asked }}
        preview={preview.data}
        onBack={() => preview.reset()}
        onLookAgain={() => preview.mutate()}
      />
    );
  return (
    <FormModal
      open
      size="xl"
      onClose={onClose}
      title={TITLE}
      description={repository.name}
      submitLabel="Preview"
      onSubmit={() => preview.mutate()}
      busy={preview.isPending}
      failure={preview.error ? failureOf(preview.error) : null}
      disabledReason={ruleProblem(rule)}
    >
      <p className="text-sm text-ink-2">
        Say what to keep. A restore point stays when any line keeps it; the newest good one of each
        VM, held and immutable ones always stay. “All of the last” counts back from the newest point
        of a VM, “Always the last” from today. You see what would go before anything does.
      </p>
      <div className="-my-2.5 grid gap-x-8 lg:grid-cols-2">
        {KEEPS.map(([key, label, unit]) => (
          <NumberRow
            key={key}
            narrow
            label={label}
            unit={unit}
            value={rule.keeps[key]}
            onChange={(text) => setRule({ ...rule, keeps: { ...rule.keeps, [key]: text } })}
            error={keepProblem(key, rule.keeps[key])}
          />
        ))}
        <NumberRow
          narrow
          label="Always the last"
          unit="days"
          value={rule.minimumAge}
          onChange={(minimumAge) => setRule({ ...rule, minimumAge })}
          error={ageProblem(rule.minimumAge)}
        />
      </div>
      <TextField
        label="Tags to keep"
        optional
        value={rule.tags}
        onChange={(tags) => setRule({ ...rule, tags })}
        error={tagsProblem(rule.tags)}
        placeholder="before-upgrade, audit"
        hint={`Points with one of these tags stay. Hours, days and weeks begin as in ${zone}.`}
      />
    </FormModal>
  );
}

function Confirm({
  repository,
  onClose,
  asked,
  preview,
  onBack,
  onLookAgain,
}: DialogProps & {
  asked: { rule: Schemas["PruneRule"]; time_zone: string };
  preview: Schemas["PrunePreview"];
  onBack: () => void;
  onLookAgain: () => void;
}) {
  const [compact, setCompact] = useState(true);
  const [typed, setTyped] = useState("");
  const going = goingIds(preview);
  const { save, accepted } = useMaintenance(() =>
    take(
      api.POST("/api/v1/repositories/{repository_id}/prune", {
        ...inRepository(repository.id),
        body: { ...asked, dry_run: false, compact, confirm_point_ids: going },
      }),
    ),
  );
  if (accepted)
    return (
      <OutcomeModal
        {...{ repository, onClose, accepted }}
        title={TITLE}
        extra={
          <Button variant="ghost" onClick={onLookAgain}>
            Preview again
          </Button>
        }
      />
    );
  const nothing = going.length === 0;
  return (
    <SaveModal
      size="2xl"
      onClose={onClose}
      title={TITLE}
      description={repository.name}
      submitLabel={
        nothing ? "Nothing to delete" : `Delete ${plural(going.length, "restore point")}`
      }
      danger
      save={save}
      disabledReason={
        nothing
          ? "By this rule every restore point stays"
          : typed.trim() === repository.name
            ? null
            : `Type ${repository.name} first`
      }
      extra={<Button onClick={onBack}>Back</Button>}
    >
      <PrunePlan preview={preview} />
      {preview.warnings.map((warning) => (
        <Notice key={warning} tone="warn">
          {warning}
        </Notice>
      ))}
      {!nothing && (
        <div className="grid items-start gap-4 sm:grid-cols-2">
          <TextField
            label={`Type ${repository.name} to confirm`}
            value={typed}
            onChange={setTyped}
            autoComplete="off"
            hint="They cannot be brought back. If by then other points would go, nothing is deleted."
          />
          <div className="sm:pt-7">
            <CheckField
              label="Compact afterwards"
              hint="Otherwise the space becomes free with the next compact"
              checked={compact}
              onChange={setCompact}
            />
          </div>
        </div>
      )}
    </SaveModal>
  );
}

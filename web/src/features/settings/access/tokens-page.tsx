"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { HiOutlinePlus, HiOutlineTrash } from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { Badge } from "@/ui/badge";
import { Button, RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { SelectField, TextField } from "@/ui/field";
import { ACTIONS, DataTable } from "@/ui/table";
import { Ago, Truncated } from "@/ui/values";
import { RemoveModal, SaveModal } from "../save-modal";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { GrantBadges, GrantsField, grantsProblem } from "./grants";
import { SecretModal } from "./users-page";

type Token = Schemas["TokenInfo"];

export function TokensPage() {
  const tokens = useQuery({
    queryKey: ["tokens"],
    queryFn: () => take(api.GET("/api/v1/tokens", {})),
  });
  const [adding, setAdding] = useState(false);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const revoke = useSave({
    save: (id: string) =>
      take(api.DELETE("/api/v1/tokens/{token_id}", { params: { path: { token_id: id } } })),
    keys: ["tokens"],
    done: "The token was revoked",
    onDone: () => setRevoking(null),
  });
  return (
    <SettingsFrame
      title="Tokens"
      description="For scripts and other programs: sent as Authorization: Bearer."
      actions={
        <Button variant="primary" icon={HiOutlinePlus} onClick={() => setAdding(true)}>
          Create token
        </Button>
      }
    >
      <Card flush>
        <DataTable
          what="tokens"
          rows={tokens.data?.items}
          rowKey={(token) => token.id}
          failure={tokens.error ? failureOf(tokens.error) : null}
          onRetry={() => tokens.refetch()}
          skeletonRows={2}
          tall
          empty={{ title: "No tokens yet", text: "A token may do no more than who made it." }}
          columns={[
            {
              key: "name",
              title: "Token",
              cell: (token) => (
                <div className="min-w-0">
                  <Truncated className="font-medium">{token.name}</Truncated>
                  <Truncated className="text-xs text-ink-3">{`of ${token.user_name}`}</Truncated>
                </div>
              ),
            },
            {
              key: "roles",
              title: "Roles",
              from: "sm",
              cell: (token) => <GrantBadges grants={token.grants} />,
            },
            {
              key: "used",
              title: "Last used",
              width: "w-28",
              from: "md",
              cell: (token) => <Ago time={token.last_used_at} />,
            },
            {
              key: "expires",
              title: "Expires",
              width: "w-32",
              cell: (token) =>
                token.revoked_at ? (
                  <Badge tone="bad">Revoked</Badge>
                ) : (
                  <Ago time={token.expires_at} />
                ),
            },
            {
              ...ACTIONS,
              width: "w-16 @4xl:w-28",
              cell: (token) => (
                <RowAction
                  icon={HiOutlineTrash}
                  label="Revoke"
                  of={token.name}
                  onClick={() => setRevoking(token)}
                  disabledReason={token.revoked_at ? "it is revoked" : null}
                />
              ),
            },
          ]}
        />
      </Card>
      {adding && <TokenModal onClose={() => setAdding(false)} onSecret={setSecret} />}
      {revoking && (
        <RemoveModal
          onClose={() => setRevoking(null)}
          title="Revoke token"
          confirmLabel="Revoke"
          remove={revoke}
          what={revoking.id}
        >
          <p>
            What uses <strong className="font-medium text-ink">{revoking.name}</strong> stops
            working at once.
          </p>
        </RemoveModal>
      )}
      <SecretModal
        title="New token"
        text="It is shown only now."
        secret={secret}
        onClose={() => setSecret(null)}
      />
    </SettingsFrame>
  );
}

function TokenModal({
  onClose,
  onSecret,
}: {
  onClose: () => void;
  onSecret: (token: string) => void;
}) {
  const [name, setName] = useState("");
  const [days, setDays] = useState("365");
  const [grants, setGrants] = useState<Schemas["GrantBody"][]>([
    { role: "viewer", scope_kind: "all", scope_value: "" },
  ]);
  const create = useSave({
    save: () =>
      take(
        api.POST("/api/v1/tokens", {
          body: { name: name.trim(), expires_in_days: days === "" ? null : Number(days), grants },
        }),
      ),
    keys: ["tokens"],
    onDone: (made) => {
      onSecret(made.token);
      onClose();
    },
  });
  return (
    <SaveModal
      onClose={onClose}
      size="lg"
      title="Create token"
      submitLabel="Create token"
      save={create}
      disabledReason={name.trim() ? grantsProblem(grants) : "Give it a name"}
    >
      <TextField
        label="Name"
        value={name}
        onChange={setName}
        autoFocus
        autoComplete="off"
        placeholder="ansible"
        error={fieldError(create.error, "name")}
      />
      <SelectField
        label="Works for"
        value={days}
        onChange={setDays}
        options={[
          { value: "30", label: "30 days" },
          { value: "90", label: "90 days" },
          { value: "365", label: "A year" },
          { value: "", label: "Until it is revoked" },
        ]}
      />
      <GrantsField grants={grants} onChange={setGrants} />
    </SaveModal>
  );
}

"use client";

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { Button } from "@/ui/button";
import { CheckField, ChoiceField, SecretField, TextField } from "@/ui/field";
import { bytes, plural } from "@/ui/format";
import { FormModal } from "@/ui/modal";
import { Notice } from "@/ui/states";
import { WizardSteps } from "@/ui/wizard-steps";
import { SaveModal } from "../save-modal";
import { useSave } from "../use-save";
import { daysOf, type Rule, RuleFields } from "./immutability";
import { NewPassphraseFields, passphraseProblem, type TypedPassphrase } from "./new-passphrase";
import { RecoveryKitModal } from "./recovery-kit";

type Step = "where" | "keys" | "kit";
const STEPS: Array<[Step, string]> = [
  ["where", "Where"],
  ["keys", "Name and passphrase"],
  ["kit", "Recovery kit"],
];

/** Where it is (and whether that works), how it is locked, and the kit that opens it without us. */
export function RepositoryWizard({ onClose }: { onClose: () => void }) {
  const [step, setStep] = useState<Step>("where");
  const [kind, setKind] = useState<"local" | "s3">("local");
  const [folder, setFolder] = useState("");
  const [bucket, setBucket] = useState("");
  const [endpoint, setEndpoint] = useState("");
  const [region, setRegion] = useState("us-east-1");
  const [keyId, setKeyId] = useState("");
  const [key, setKey] = useState("");
  const [plainHttp, setPlainHttp] = useState(false);
  const [name, setName] = useState("");
  const [passphrase, setPassphrase] = useState<TypedPassphrase>({ text: "", again: "" });
  const [rule, setRule] = useState<Rule>({ on: false, days: "14", mode: "compliance" });

  const target: Schemas["RepositoryTarget"] = {
    location: kind === "local" ? folder.trim() : `s3://${bucket.trim().replace(/^s3:\/\//, "")}`,
    s3:
      kind === "s3"
        ? {
            endpoint: endpoint.trim(),
            region: region.trim() || "us-east-1",
            access_key_id: keyId.trim(),
            secret_access_key: key,
            allow_http: plainHttp,
          }
        : null,
  };
  const test = useMutation({
    mutationFn: () => take(api.POST("/api/v1/repositories/test", { body: target })),
    onSuccess: (result) => {
      if (result.ok) setStep("keys");
    },
  });
  const exists = test.data?.exists ?? false;
  const create = useSave({
    save: () =>
      take(
        api.POST("/api/v1/repositories", {
          body: {
            ...target,
            name: name.trim(),
            mode: exists ? "open" : "create",
            passphrase: passphrase.text,
            immutable_days: exists ? 0 : (daysOf(rule) ?? 0),
            immutable_mode: rule.mode,
          },
        }),
      ),
    keys: ["repositories", "overview", "vms", "backups"],
    done: (made) =>
      made.imported_backups
        ? `Added, with ${plural(made.imported_backups, "restore point")}`
        : "The repository was added",
    onDone: (made) => {
      if (made.recovery_kit) setStep("kit");
      else onClose();
    },
  });

  const missingWhere =
    kind === "local"
      ? folder.trim().startsWith("/")
        ? null
        : "Say which folder, from /"
      : !bucket.trim()
        ? "Say which bucket"
        : !keyId.trim() || !key
          ? "Give the access keys"
          : null;
  const missingKeys = !name.trim()
    ? "Give it a name"
    : exists
      ? passphrase.text
        ? null
        : "Give the passphrase"
      : (passphraseProblem(passphrase) ?? (daysOf(rule) === null ? "Say for how many days" : null));
  const place = STEPS.findIndex(([one]) => one === step);
  const progress = (
    <WizardSteps
      names={STEPS.filter(([one]) => !(exists && one === "kit")).map(([, label]) => label)}
      current={place}
    />
  );

  if (step === "kit" && create.data?.recovery_kit)
    return (
      <RecoveryKitModal
        kit={create.data.recovery_kit}
        name={name}
        onClose={onClose}
        above={progress}
      />
    );
  if (step === "keys") {
    return (
      <SaveModal
        onClose={onClose}
        size="lg"
        title="Add repository"
        submitLabel={exists ? "Open repository" : "Create repository"}
        save={create}
        disabledReason={missingKeys}
        extra={<Button onClick={() => setStep("where")}>Back</Button>}
      >
        {progress}
        <Notice tone="ok" title={exists ? "A repository is there already" : "This place works"}>
          {exists
            ? "It will be opened, and its restore points listed."
            : [
                test.data?.message,
                test.data?.available_bytes ? `${bytes(test.data.available_bytes)} free` : "",
              ]
                .filter(Boolean)
                .join(". ")}
        </Notice>
        <TextField
          label="Name"
          value={name}
          onChange={setName}
          autoFocus
          placeholder="Primary"
          error={fieldError(create.error, "name")}
        />
        {exists ? (
          <SecretField
            label="Passphrase"
            value={passphrase.text}
            onChange={(text) => setPassphrase({ text, again: "" })}
            error={fieldError(create.error, "passphrase")}
            hint="The one it was made with, or a recovery key"
          />
        ) : (
          <NewPassphraseFields
            label="Passphrase"
            value={passphrase}
            onChange={setPassphrase}
            error={fieldError(create.error, "passphrase")}
          />
        )}
        {!exists && (
          <RuleFields
            rule={rule}
            onChange={setRule}
            bucket={kind === "s3"}
            error={fieldError(create.error, "immutable_days")}
          />
        )}
      </SaveModal>
    );
  }
  return (
    <FormModal
      open
      onClose={onClose}
      size="lg"
      title="Add repository"
      submitLabel="Test and continue"
      onSubmit={() => test.mutate()}
      busy={test.isPending}
      failure={
        test.error
          ? failureOf(test.error)
          : test.data && !test.data.ok
            ? { title: test.data.message, detail: test.data.hint ?? "" }
            : null
      }
      disabledReason={missingWhere}
    >
      {progress}
      <ChoiceField
        label="Storage"
        value={kind}
        onChange={(value) => {
          setKind(value);
          test.reset();
        }}
        options={[
          { value: "local", label: "Folder", hint: "On this host, or a share mounted on it" },
          { value: "s3", label: "S3 bucket", hint: "Amazon, or any server that speaks S3" },
        ]}
      />
      {kind === "local" ? (
        <TextField
          label="Folder"
          value={folder}
          onChange={setFolder}
          mono
          autoFocus
          placeholder="/srv/holdfast"
          hint="Empty or new to create a repository, or one that is there"
          error={fieldError(test.error, "location")}
        />
      ) : (
        <>
          <TextField
            label="Bucket and prefix"
            value={bucket}
            onChange={setBucket}
            mono
            placeholder="backups/holdfast"
            error={fieldError(test.error, "location")}
          />
          <div className="grid gap-4 sm:grid-cols-[minmax(0,1fr)_10rem]">
            <TextField
              label="Endpoint"
              value={endpoint}
              onChange={setEndpoint}
              mono
              optional
              placeholder="https://s3.example.com"
              hint="Empty for Amazon"
              error={fieldError(test.error, "endpoint")}
            />
            <TextField label="Region" value={region} onChange={setRegion} mono />
          </div>
          <TextField
            label="Access key id"
            value={keyId}
            onChange={setKeyId}
            mono
            autoComplete="off"
          />
          <SecretField
            label="Secret access key"
            value={key}
            onChange={setKey}
            hint="Sealed at rest, never shown again"
          />
          {endpoint.startsWith("http://") && (
            <CheckField
              label="Allow a connection without TLS"
              hint="Backups are encrypted before they are sent; the access keys only sign requests"
              checked={plainHttp}
              onChange={setPlainHttp}
            />
          )}
        </>
      )}
    </FormModal>
  );
}

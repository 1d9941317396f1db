"use client";

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { HiOutlineDownload } from "react-icons/hi";
import { api, failureOf, fieldError, type Schemas, take } from "@/api-client";
import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { CheckField, ChoiceField, SecretField, TextField } from "@/ui/field";
import { bytes, plural } from "@/ui/format";
import { FormModal, Modal } from "@/ui/modal";
import { Notice } from "@/ui/states";
import { useSave } from "../use-save";
import { daysOf, type Rule, RuleFields } from "./immutability";

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
  const [passphrase, setPassphrase] = useState("");
  const [again, setAgain] = useState("");
  const [rule, setRule] = useState<Rule>({ on: false, days: "14", mode: "compliance" });
  const [kept, setKept] = useState(false);
  const [downloaded, setDownloaded] = useState(false);

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
            passphrase,
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
  const mismatch = !exists && again.length > 0 && again !== passphrase;
  const missingKeys = !name.trim()
    ? "Give it a name"
    : !passphrase
      ? "Give the passphrase"
      : !exists && passphrase !== again
        ? "Repeat the passphrase"
        : !exists && daysOf(rule) === null
          ? "Say for how many days"
          : null;
  const place = STEPS.findIndex(([one]) => one === step);
  const progress = (
    <ol className="flex gap-2 text-xs" aria-label="Steps">
      {STEPS.filter(([one]) => !(exists && one === "kit")).map(([one, label], index) => (
        <li
          key={one}
          aria-current={one === step ? "step" : undefined}
          className={cx(
            "flex-1 border-t-2 pt-1.5",
            index <= place ? "border-accent text-ink" : "border-line text-ink-3",
          )}
        >
          {label}
        </li>
      ))}
    </ol>
  );

  if (step === "kit" && create.data?.recovery_kit) {
    const kit = create.data.recovery_kit;
    return (
      <Modal
        open
        onClose={() => {
          if (kept) onClose();
        }}
        title="Recovery kit"
        size="lg"
        footer={
          <Button
            variant="primary"
            onClick={onClose}
            disabledReason={kept ? null : "Download the kit and confirm first"}
          >
            Done
          </Button>
        }
      >
        <div className="flex flex-col gap-4">
          {progress}
          <p className="text-ink-2">
            With this kit the repository opens when the passphrase is lost. It is shown only now and
            kept nowhere. Store it away from this server, printed or in a safe.
          </p>
          <textarea
            readOnly
            aria-label="Recovery kit"
            value={kit}
            rows={8}
            className="w-full rounded-md border border-line bg-sunken p-3 font-mono text-xs text-ink"
            onFocus={(event) => event.target.select()}
          />
          <div>
            <Button
              icon={HiOutlineDownload}
              variant={downloaded ? "secondary" : "primary"}
              onClick={() => {
                download(
                  `holdfast-recovery-kit-${name.trim().replaceAll(/[^A-Za-z0-9._-]+/g, "-")}.txt`,
                  kit,
                );
                setDownloaded(true);
              }}
            >
              Download the kit
            </Button>
          </div>
          <CheckField label="I keep the kit in a safe place" checked={kept} onChange={setKept} />
        </div>
      </Modal>
    );
  }
  if (step === "keys") {
    return (
      <FormModal
        open
        onClose={onClose}
        size="lg"
        title="Add repository"
        submitLabel={exists ? "Open repository" : "Create repository"}
        onSubmit={() => create.mutate(undefined)}
        busy={create.isPending}
        failure={create.error ? failureOf(create.error) : null}
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
        <SecretField
          label="Passphrase"
          value={passphrase}
          onChange={setPassphrase}
          autoComplete="new-password"
          error={fieldError(create.error, "passphrase")}
          hint={
            exists
              ? "The one it was made with"
              : "Without it and without the recovery kit, nobody can read the backups"
          }
        />
        {!exists && (
          <SecretField
            label="Passphrase again"
            value={again}
            onChange={setAgain}
            autoComplete="new-password"
            error={mismatch ? "The two are not alike" : null}
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
      </FormModal>
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

function download(name: string, text: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

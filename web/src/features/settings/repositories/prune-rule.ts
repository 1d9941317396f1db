// A rule of retention as it is typed, checked and sent. No React here.

import type { Schemas } from "@/api-client";
import { count } from "../../../ui/format";

export type KeepKey =
  | "keep_last"
  | "keep_hourly"
  | "keep_daily"
  | "keep_weekly"
  | "keep_monthly"
  | "keep_yearly"
  | "keep_within_days";

/** What each row of the form says, and its unit. */
export const KEEPS: ReadonlyArray<[KeepKey, string, string]> = [
  ["keep_last", "Newest of each VM", "points"],
  ["keep_hourly", "One an hour, for", "hours"],
  ["keep_daily", "One a day, for", "days"],
  ["keep_weekly", "One a week, for", "weeks"],
  ["keep_monthly", "One a month, for", "months"],
  ["keep_yearly", "One a year, for", "years"],
  ["keep_within_days", "All of the last", "days"],
];

const LONGEST_DAYS = 36_500;
const MOST = 100_000;
const TAG = /^[A-Za-z0-9._:-]{1,64}$/;
const MOST_TAGS = 20;

export interface TypedRule {
  keeps: Readonly<Record<KeepKey, string>>;
  /** With commas or spaces between them. */
  tags: string;
  minimumAge: string;
}

export const FIRST_RULE: TypedRule = {
  keeps: {
    keep_last: "3",
    keep_hourly: "",
    keep_daily: "7",
    keep_weekly: "4",
    keep_monthly: "12",
    keep_yearly: "",
    keep_within_days: "",
  },
  tags: "",
  minimumAge: "1",
};

export function keepProblem(key: KeepKey, typed: string): string | null {
  return numberProblem(typed, key === "keep_within_days" ? LONGEST_DAYS : MOST);
}

export function ageProblem(typed: string): string | null {
  return numberProblem(typed, LONGEST_DAYS);
}

function numberProblem(typed: string, most: number): string | null {
  const text = typed.trim();
  return text === "" || (/^\d{1,6}$/.test(text) && Number(text) <= most)
    ? null
    : `A whole number up to ${count(most)}, or nothing`;
}

export function tagsOf(typed: string): string[] {
  return [...new Set(typed.split(/[\s,]+/).filter(Boolean))];
}

export function tagsProblem(typed: string): string | null {
  const tags = tagsOf(typed);
  const wrong = tags.find((tag) => !TAG.test(tag));
  if (wrong !== undefined) return `${wrong} is no tag: letters, digits and . _ : - only`;
  return tags.length > MOST_TAGS ? `At most ${MOST_TAGS} tags` : null;
}

/** Why the rule cannot be used yet; null when it can. */
export function ruleProblem(rule: TypedRule): string | null {
  if (KEEPS.some(([key]) => keepProblem(key, rule.keeps[key])) || ageProblem(rule.minimumAge))
    return "A number is not right";
  if (tagsProblem(rule.tags)) return "A tag is not right";
  const keepsSomething =
    KEEPS.some(([key]) => Number(rule.keeps[key]) > 0) || tagsOf(rule.tags).length > 0;
  return keepsSomething ? null : "Say what to keep";
}

export function ruleOf(rule: TypedRule): Schemas["PruneRule"] {
  const numbers: Partial<Record<KeepKey, number>> = {};
  for (const [key] of KEEPS)
    if (Number(rule.keeps[key]) > 0) numbers[key] = Number(rule.keeps[key]);
  return {
    ...numbers,
    keep_tags: tagsOf(rule.tags),
    minimum_age_days: Number(rule.minimumAge.trim() || 0),
  };
}

/** The points that the preview says go: a run must find these and no others. */
export function goingIds(preview: Pick<Schemas["PrunePreview"], "decisions">): string[] {
  return preview.decisions.filter((one) => !one.keep).map((one) => one.point_id);
}

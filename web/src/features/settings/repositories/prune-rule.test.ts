import { describe, expect, it } from "vitest";
import {
  ageProblem,
  FIRST_RULE,
  goingIds,
  keepProblem,
  ruleOf,
  ruleProblem,
  tagsOf,
  tagsProblem,
} from "./prune-rule";

const NOTHING = {
  ...FIRST_RULE,
  keeps: {
    keep_last: "",
    keep_hourly: "0",
    keep_daily: " ",
    keep_weekly: "",
    keep_monthly: "",
    keep_yearly: "",
    keep_within_days: "",
  },
};

describe("a rule of retention", () => {
  it("leaves out what was left empty", () => {
    expect(ruleOf(FIRST_RULE)).toEqual({
      keep_last: 3,
      keep_daily: 7,
      keep_weekly: 4,
      keep_monthly: 12,
      keep_tags: [],
      minimum_age_days: 1,
    });
    expect(ruleOf({ ...FIRST_RULE, minimumAge: "" }).minimum_age_days).toBe(0);
  });

  it("that keeps nothing is never sent", () => {
    expect(ruleProblem(FIRST_RULE)).toBeNull();
    expect(ruleProblem(NOTHING)).toBe("Say what to keep");
    expect(ruleProblem({ ...NOTHING, tags: "monthly-close" })).toBeNull();
  });

  it("knows a number when it sees one", () => {
    for (const right of ["", "0", "7", "100000"])
      expect(keepProblem("keep_last", right)).toBeNull();
    for (const wrong of ["-1", "1.5", "seven", "100001", "1e3"])
      expect(keepProblem("keep_last", wrong)).not.toBeNull();
    expect(keepProblem("keep_within_days", "36501")).not.toBeNull();
    expect(ageProblem("36500")).toBeNull();
    expect(ruleProblem({ ...FIRST_RULE, minimumAge: "x" })).toBe("A number is not right");
  });

  it("takes tags with commas, spaces or both between them", () => {
    expect(tagsOf(" gold, silver  gold\nbronze,")).toEqual(["gold", "silver", "bronze"]);
    expect(tagsProblem("gold, two words?")).toContain("words?");
    expect(tagsProblem(Array.from({ length: 21 }, (_, at) => `t${at}`).join(" "))).toContain("20");
  });

  it("confirms the points that go, and only those", () => {
    const decisions = [
      { point_id: "a", keep: true },
      { point_id: "b", keep: false },
    ] as never;
    expect(goingIds({ decisions })).toEqual(["b"]);
  });
});

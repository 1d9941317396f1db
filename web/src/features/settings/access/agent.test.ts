import { describe, expect, it } from "vitest";
import { agentWords } from "./agent";

const KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)";

describe("agentWords", () => {
  it.each([
    [`Mozilla/5.0 (X11; Linux x86_64) ${KHTML} Chrome/142.0.0.0 Safari/537.36`, "Chrome on Linux"],
    [
      `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${KHTML} Chrome/142.0 Safari/537.36 Edg/142.0`,
      "Edge on Windows",
    ],
    ["Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"],
    [
      "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/18 Safari/605",
      "Safari on macOS",
    ],
    [`Mozilla/5.0 (Linux; Android 15) ${KHTML} Chrome/142 Mobile Safari/537`, "Chrome on Android"],
    ["python-httpx/0.28.1", "python-httpx/0.28.1"],
    ["", "Unknown"],
  ])("%s", (agent, words) => expect(agentWords(agent)).toBe(words));
});

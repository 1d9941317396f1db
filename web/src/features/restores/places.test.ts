import { expect, test } from "vitest";
import { downloadAddress, keyOf, nameOf, parentOf, placeOf, trailOf } from "./places";

// "/vda1/\xff\xfe/a" as bytes.
const ODD = { path: "/vda1/\\xff\\xfe/a", b64: "L3ZkYTEv__4vYQ" };

test("a path of text is walked name by name", () => {
  expect(trailOf({ path: "/vda1/srv/größe.txt" }).map((step) => step.name)).toEqual([
    "vda1",
    "srv",
    "größe.txt",
  ]);
  expect(parentOf({ path: "/vda1/srv" })).toEqual({ path: "/vda1" });
  expect(parentOf({ path: "/vda1" })).toEqual({ path: "/" });
  expect(nameOf({ path: "/" })).toBe("/");
});

test("a name that is no text keeps its bytes", () => {
  const [volume, folder, file] = trailOf(ODD);
  expect(volume?.place).toEqual({ path: "/vda1" });
  expect(folder?.place.b64).toBe("L3ZkYTEv__4");
  expect(file?.place.b64).toBe(ODD.b64);
  expect(keyOf(ODD)).not.toBe(keyOf({ path: ODD.path }));
});

test("a download names every entry, bytes as bytes", () => {
  const text = { path: "/vda1/a b&c", path_b64: null };
  const odd = { path: ODD.path, path_b64: ODD.b64 };
  expect(placeOf(odd).b64).toBe(ODD.b64);
  const address = new URL(downloadAddress("m", [text, odd], "zip"), "http://localhost");
  expect(address.searchParams.getAll("path")).toEqual(["/vda1/a b&c"]);
  expect(address.searchParams.getAll("path_b64")).toEqual([ODD.b64]);
  expect(address.searchParams.get("format")).toBe("zip");
});

import { expect, test } from "bun:test";
import { endpoint, wholeNumber } from "../src/cli/values.ts";

test("endpoints: names, IPv4, IPv6, with and without a port", () => {
  expect(endpoint("example.org")).toEqual({ host: "example.org", port: 35001 });
  expect(endpoint("10.0.0.1:80")).toEqual({ host: "10.0.0.1", port: 80 });
  expect(endpoint("::1")).toEqual({ host: "::1", port: 35001 });
  expect(endpoint("[fe80::1]:9")).toEqual({ host: "fe80::1", port: 9 });
  expect(endpoint("[::1]")).toEqual({ host: "::1", port: 35001 });
  for (const bad of ["", "a:b:c", "host:0", "host:65536", "host:", "[nonsense]:1", "a b", "[::1"]) {
    expect(() => endpoint(bad)).toThrow("no HOST or HOST:PORT");
  }
});

test("numbers: units, bounds, and what is none", () => {
  expect(wholeNumber("n", "16M", 0, 1e9)).toBe(16 << 20);
  expect(wholeNumber("n", "2k", 0, 1e9)).toBe(2048);
  for (const bad of ["", "-1", "1.5", "1e3", "0x10", "5T", "11"]) {
    expect(() => wholeNumber("n", bad, 0, 10)).toThrow("--n takes a whole number from 0 to 10");
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { View, problems } from "./onsen/onsen.js";
import { snapshot } from "./onsen/testing.js";
import { decide, settings } from "./policy.js";

const NOW = 1_800_000_000_000;

// An m5.large: 3 ENIs of 9 slots. One block for each number: 0 is free and long idle, 1 a pod's.
const node = (...enis) => snapshot(NOW, 3, 9, enis);
const decideOn = (raw) => decide(new View(raw));

test("an empty node gets what is to be kept free in one step", () => {
  const raw = node([]);
  raw.settings = [{ key: "KEEP_FREE", value: "5" }];
  const { actions } = decideOn(raw);
  assert.deepEqual(actions.map((action) => action.request), [
    { tag: "grow", val: { eni: 0, unit: "address", count: 5 } },
  ]);
});

test("waiting pods are covered with a new ENI when the first is full", () => {
  const raw = node([1, 1, 1, 1, 1, 1, 1, 1, 1]);
  raw.demand.waiting = BigUint64Array.of(2000n, 1000n, 0n);
  const decision = decideOn(raw);
  assert.equal(decision.actions.length, 1);
  assert.equal(decision.actions[0].request.val.blocks, 7);
  assert.equal(decision.pressure, 100);
});

test("what is idle goes back, newest ENI first", () => {
  const { actions } = decideOn(node([1, 0, 0, 0, 0, 0, 0], [0, 0]));
  assert.deepEqual(actions.map((action) => action.request), [
    { tag: "detach-eni", val: 1 },
    { tag: "release", val: { eni: 0, blocks: [6, 5] } },
  ]);
});

test("a refusal is waited out", () => {
  const raw = node([]);
  raw.ec2.outcomes = [
    { at: NOW - 5000, operation: "grow", code: "InsufficientFreeAddressesInSubnet" },
  ];
  const decision = decideOn(raw);
  assert.equal(decision.actions.length, 0);
  assert.equal(decision.wakeAfter, 25_000);
});

test("a node that shuts down is left alone", () => {
  const raw = node([]);
  raw.node.terminating = true;
  assert.equal(decideOn(raw).actions.length, 0);
});

test("settings out of range are told and read as the default", () => {
  const given = [{ key: "KEEP_FREE", value: "many" }];
  assert.equal(problems(settings, given).length, 1);
  assert.equal(settings[0].read(given), 4);
});

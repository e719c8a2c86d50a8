// Keeps N addresses free, grows in one step to cover the pods that wait, and gives back what has
// been idle.
import { Draft, SECOND, counted, integer } from "./onsen/onsen.js";

const KEEP_FREE = integer("KEEP_FREE", 4, 0, 1024, "Addresses kept free for the next pods.");
const IDLE_SECONDS = integer(
  "IDLE_SECONDS", 120, 0, 86400,
  "How long a block must have been without a pod before it goes back.",
);
// How long nothing is asked for after EC2 refused something.
const RETRY = 30 * SECOND;
// How long a subnet that had no whole prefix is asked for single addresses instead.
const NO_PREFIX = 1800 * SECOND;

export const name = "keep-n-free";
export const version = "0.1.0";
export const doc =
  "Keeps N addresses free, covers waiting pods in one step, gives back what is idle.";
export const settings = [KEEP_FREE, IDLE_SECONDS];

// One decision; what it throws is told to people, and the host's fallback decides the round.
export function decide(view) {
  const draft = new Draft();
  if (view.node.terminating) {
    return draft.finish("pack", "The node is shutting down: nothing is changed.");
  }
  const pool = measure(view);
  const missing = missingIn(pool);
  if (view.waiting > 0) draft.pressure(100);
  else if (missing > 0) draft.pressure(Math.min(Math.floor((missing * 100) / pool.wanted), 99));
  let verdict = "enough";
  if (missing > 0) verdict = grow(view, missing, draft);
  else if (pool.waiting === 0) verdict = shrink(view, spareIn(pool), draft);
  const { free, cooling, coming, waiting, wanted } = pool;
  return draft.finish(
    "pack",
    `${free} free, ${cooling} cooling, ${coming} coming, ${waiting} waiting, ${wanted} wanted: ${verdict}.`,
  );
}

// What is there and what should be, in addresses.
function measure(view) {
  const pool = { free: 0, cooling: 0, coming: 0 };
  let assigned = 0;
  for (const eni of view.enis) {
    pool.coming += eni.inFlight * view.addressesPer(eni.inFlightUnit);
    for (const block of eni.blocks) {
      assigned += block.assigned;
      if (servesPods(eni)) {
        pool.free += block.free;
        pool.cooling += block.cooling;
      }
    }
  }
  pool.waiting = view.waiting + view.demand.scheduled;
  pool.wanted = pool.waiting + (view.node.schedulable ? KEEP_FREE.read(view.settings) : 0);
  if (view.node.maxPods > 0) {
    pool.wanted = Math.min(pool.wanted, less(view.node.maxPods, assigned));
  }
  return pool;
}

// Addresses to ask for. A pod that waits cannot use what cools.
function missingIn(pool) {
  const usable = pool.free + pool.coming;
  const forWaiting = less(Math.min(pool.waiting, pool.wanted), usable);
  return Math.max(less(pool.wanted, usable + pool.cooling), forWaiting);
}

// Addresses that could go.
const spareIn = (pool) => less(pool.free + pool.cooling + pool.coming, pool.wanted);

const servesPods = (eni) => eni.state === "ready" && eni.role !== "trunk" && !eni.excluded;

// Everything that is missing, in one step: first on ENIs with free slots, then on new ones.
function grow(view, missing, draft) {
  if (view.ec2.throttledUntil > view.now) {
    draft.wakeAfter(view.ec2.throttledUntil - view.now);
    return "EC2 throttles";
  }
  const last = view.lastGrowth;
  if (last && last.code !== "" && last.at + RETRY > view.now) {
    draft.wakeAfter(last.at + RETRY - view.now);
    return "waits after a refusal";
  }
  const unit = unitToAskFor(view);
  const perBlock = view.addressesPer(unit);
  const blocksFor = (room) => Math.min(Math.ceil(missing / perBlock), room);
  let calls = view.ec2.growBudget;
  for (const eni of view.enis) {
    if (missing === 0 || calls === 0) break;
    if (!eni.canGrow) continue;
    const count = blocksFor(eni.freeSlots);
    draft.grow(eni, unit, count, `${missing} missing: ${counted(count, unit)} on ${eni.name}.`);
    missing = less(missing, count * perBlock);
    calls -= 1;
  }
  const { enis: most, slotsPerEni } = view.limits;
  let enis = view.enis.filter((eni) => eni.card === 0).length;
  while (missing > 0 && calls > 0 && enis < most && slotsPerEni > 0) {
    const blocks = blocksFor(slotsPerEni);
    draft.attach(
      unit, blocks,
      `${missing} missing and no slot left: a new ENI with ${counted(blocks, unit)}.`,
    );
    missing = less(missing, blocks * perBlock);
    calls -= 1;
    enis += 1;
  }
  if (draft.isEmpty) return "no room to grow now";
  return missing === 0 ? "grows" : "grows as far as it can";
}

function unitToAskFor(view) {
  const own = view.subnets.find((subnet) => subnet.own);
  const noPrefixesAt = own ? own.noPrefixesAt : 0;
  return noPrefixesAt > 0 && noPrefixesAt + NO_PREFIX > view.now ? "address" : view.unit;
}

// What has been idle for long enough and is not wanted, newest ENI first.
function shrink(view, spare, draft) {
  const seconds = IDLE_SECONDS.read(view.settings);
  const idle = seconds * SECOND;
  let calls = view.ec2.releaseBudget;
  for (const eni of [...view.enis].reverse()) {
    if (!servesPods(eni) || eni.busy) continue;
    const blocks = eni.blocks;
    const addresses = blocks.reduce((sum, block) => sum + block.addresses, 0);
    const allIdle = blocks.every(
      (block) => block.releasable && block.idleSince + idle <= view.now,
    );
    if (eni.canDetach && eni.idleSince + idle <= view.now && allIdle && addresses <= spare && calls > 0) {
      draft.detach(eni, `Idle for ${seconds} s and not wanted: ${eni.name} goes.`);
      spare -= addresses;
      calls -= 1;
      continue;
    }
    const gone = [];
    for (const block of [...blocks].reverse()) {
      if (!block.releasable || block.addresses > spare) continue;
      if (block.idleSince + idle > view.now) {
        draft.wakeAfter(block.idleSince + idle - view.now);
      } else if (calls > 0) {
        gone.push(block.index);
        spare -= block.addresses;
      }
    }
    if (gone.length > 0) {
      draft.release(eni, gone, `Idle for ${seconds} s and not wanted: ${gone.length} of ${eni.name}.`);
      calls -= 1;
    }
  }
  return draft.isEmpty ? "enough" : "gives back";
}

// a - b, but not below 0.
const less = (a, b) => Math.max(a - b, 0);

// Dresses up the contract for people: a view of the snapshot, a draft of the decision, settings
// with ranges. The runtime passes 64-bit numbers as plain numbers and lists of them as BigInt; here
// all are plain numbers.

// One second in the contract's unit of time.
export const SECOND = 1000;

// The host reads so many actions of one decision.
const MAX_ACTIONS = 64;

// A snapshot as wit/policy.wit documents it, in camelCase, with helpers.
export class View {
  constructor(snapshot) {
    Object.assign(this, numbers(snapshot));
    this.waiting = snapshot.demand.waiting.length;
    const lists = this.blocks;
    this.enis = this.enis.map((eni, index) => new Eni(eni, index, lists, this.limits));
  }

  // Addresses in one block of this unit.
  addressesPer(unit) {
    return unit === "address" ? 1 : Math.max(this.limits.addressesPerPrefix, 1);
  }

  // The newest outcome of a call to get more; undefined when there is none.
  get lastGrowth() {
    return this.ec2.outcomes.findLast((it) => ["grow", "attach-eni"].includes(it.operation));
  }
}

// One ENI, its place, and its blocks as values, lowest address first.
class Eni {
  constructor(eni, index, lists, limits) {
    Object.assign(this, eni, { index });
    // Lists that do not fit together give fewer blocks.
    const known = Math.min(
      ...["base", "length", "assigned", "cooling", "coolingUntil", "idleSince", "free", "releasable"]
        .map((name) => lists[name].length),
    );
    const first = Math.min(eni.firstBlock, known);
    const end = Math.min(first + eni.blockCount, known);
    this.blocks = [];
    for (let at = first; at < end; at += 1) {
      const single = [32, 128].includes(lists.length[at]);
      this.blocks.push({
        index: at,
        unit: single ? "address" : "prefix",
        addresses: single ? 1 : Math.max(limits.addressesPerPrefix, 1),
        assigned: lists.assigned[at],
        cooling: lists.cooling[at],
        coolingUntil: lists.coolingUntil[at],
        idleSince: lists.idleSince[at],
        free: lists.free[at],
        releasable: lists.releasable[at],
      });
    }
  }

  // Whether more blocks can be asked for on it now.
  get canGrow() {
    return (
      this.state === "ready" && this.role !== "trunk" && this.freeSlots > 0 &&
      !this.busy && !this.excluded
    );
  }

  // Whether the host would let it go.
  get canDetach() {
    return (this.keep ?? null) === null && this.state === "ready";
  }

  // Its id, or a word for an ENI that has none yet.
  get name() {
    return this.id === "" ? "a new ENI" : this.id;
  }
}

// Collects a decision. The earliest wish to be asked again wins; the highest pressure counts.
export class Draft {
  #actions = [];
  #wakeAfter;
  #memo = new Uint8Array();
  #pressure = 0;

  grow(eni, unit, count, reason) {
    this.#push({ tag: "grow", val: { eni: eni.index, unit, count } }, reason);
  }

  // A new ENI on network card 0, in the node's own subnet.
  attach(unit, blocks, reason) {
    this.#push({ tag: "attach-eni", val: { subnet: undefined, unit, blocks, card: 0 } }, reason);
  }

  release(eni, blocks, reason) {
    this.#push({ tag: "release", val: { eni: eni.index, blocks } }, reason);
  }

  detach(eni, reason) {
    this.#push({ tag: "detach-eni", val: eni.index }, reason);
  }

  #push(request, reason) {
    if (this.#actions.length < MAX_ACTIONS) this.#actions.push({ request, reason });
  }

  get isEmpty() {
    return this.#actions.length === 0;
  }

  // Asks to be called again after so many milliseconds.
  wakeAfter(wait) {
    this.#wakeAfter = Math.min(this.#wakeAfter ?? wait, wait);
  }

  // What the next snapshot shall carry, a Uint8Array.
  remember(memo) {
    this.#memo = memo;
  }

  // How close the node is to failing a pod, 0 to 100.
  pressure(pressure) {
    this.#pressure = Math.max(this.#pressure, Math.min(pressure, 100));
  }

  finish(placement, reason) {
    return {
      actions: this.#actions,
      reason,
      wakeAfter: this.#wakeAfter,
      memo: this.#memo,
      placement,
      pressure: this.#pressure,
    };
  }
}

// A setting: a whole number. A value that is no number or lies outside the range reads as the
// default.
export function integer(key, fallback, min, max, doc) {
  return {
    key, fallback, min, max, doc,
    read(given) {
      const value = number(given.find((setting) => setting.key === key)?.value ?? "");
      return value !== undefined && value >= min && value <= max ? value : fallback;
    },
  };
}

// What is wrong with the settings that a policy reads. Empty text means "not set".
export function problems(settings, given) {
  return given.flatMap(({ key, value }) => {
    const spec = settings.find((setting) => setting.key === key);
    if (!spec || value === "") return [];
    const read = number(value);
    if (read !== undefined && read >= spec.min && read <= spec.max) return [];
    const range = `${spec.min} to ${spec.max}`;
    const message = `${JSON.stringify(value)} is not a whole number from ${range}; ${spec.fallback} is used`;
    return [{ key, message }];
  });
}

const number = (text) => (/^\+?[0-9]+$/.test(text) ? Number(text) : undefined);

// "1 address", "3 prefixes".
export const counted = (count, unit) =>
  `${count} ${unit === "address" ? "address" : "prefix"}${count === 1 ? "" : "es"}`;

// A copy with plain numbers for BigInt. Exact below 2^53; the upper halves of IPv6 addresses are
// not, and no decision needs them.
function numbers(value) {
  if (typeof value === "bigint") return Number(value);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, numbers);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, numbers(inner)]));
}

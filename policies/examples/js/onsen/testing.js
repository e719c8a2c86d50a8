// A node for unit tests: so many ENIs of so many slots at most, with single addresses. Each list is
// an ENI; each number in it is a block, 0 free and idle for an hour, 1 held by a pod. Everything in
// it may be changed afterwards. Types are those that the runtime gives to a component.
export function snapshot(now, maxEnis, slots, enis) {
  const anHourAgo = now - 3_600_000;
  const all = enis.flat();
  const each = (make) => all.map(make);
  const u64s = (make) => BigUint64Array.from(all, (...block) => BigInt(make(...block)));
  let first = 0;
  return {
    decisionId: 1,
    now,
    utcOffset: 0,
    uptime: 3_600_000,
    trigger: "timer",
    node: {
      instanceType: "m5.large", zone: "eu-west-1a", labels: [], family: "ipv4", maxPods: 0,
      schedulable: true, terminating: false,
    },
    limits: {
      enis: maxEnis, otherCards: [], slotsPerEni: slots, prefixes: true, addressesPerPrefix: 16,
      trunk: true,
    },
    unit: "address",
    enis: enis.map((blocks, index) => {
      const eni = {
        id: `eni-${index}`, role: index === 0 ? "primary" : "secondary", state: "ready", subnet: 0,
        deviceIndex: index, card: 0, excluded: false, since: anHourAgo,
        idleSince: blocks.includes(1) ? 0 : anHourAgo,
        freeSlots: slots - blocks.length, inFlight: 0, inFlightUnit: "address", busy: false,
        keep: index === 0 ? "primary" : blocks.includes(1) ? "assigned" : undefined,
        firstBlock: first, blockCount: blocks.length,
      };
      first += blocks.length;
      return eni;
    }),
    blocks: {
      baseHigh: new BigUint64Array(),
      base: u64s((_, at) => 0x0a000000 + at),
      length: each(() => 32),
      assigned: each((assigned) => assigned),
      cooling: each(() => 0),
      coolingUntil: u64s(() => 0),
      idleSince: u64s((assigned) => (assigned > 0 ? 0 : anHourAgo)),
      free: each((assigned) => 1 - assigned),
      releasable: each((assigned) => assigned === 0),
    },
    demand: {
      waiting: [], scheduled: 0,
      adds1m: 0, adds5m: 0, adds15m: 0, deletes1m: 0, deletes5m: 0, deletes15m: 0,
    },
    subnets: [
      { id: "subnet-0", own: true, freeAddresses: undefined, readAt: 0, noAddressesAt: 0, noPrefixesAt: 0 },
    ],
    ec2: { growBudget: 4, releaseBudget: 4, inFlight: 0, throttledUntil: 0, outcomes: [] },
    settings: [],
    memo: new Uint8Array(),
  };
}

// Keeps N addresses free, grows in one step to cover the pods that wait, and gives back what has
// been idle.
#include <inttypes.h>
#include <stdlib.h>

#include "onsen/onsen.h"

static const onsen_integer SETTINGS[] = {
    {"KEEP_FREE", 4, 0, 1024, "Addresses kept free for the next pods."},
    {"IDLE_SECONDS", 120, 0, 86400,
     "How long a block must have been without a pod before it goes back."},
};
#define KEEP_FREE (&SETTINGS[0])
#define IDLE_SECONDS (&SETTINGS[1])

// How long nothing is asked for after EC2 refused something.
#define RETRY (30 * ONSEN_SECOND)
// How long a subnet that had no whole prefix is asked for single addresses instead.
#define NO_PREFIX (1800 * ONSEN_SECOND)

// What is there and what should be, in addresses.
typedef struct {
  uint64_t free, cooling, coming, waiting, wanted;
} pool;

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }
// a - b, but not below 0.
static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

static bool serves_pods(const onsen_eni *eni) {
  return eni->state == ONSEN_POLICY_TYPES_ENI_STATE_READY &&
         eni->role != ONSEN_POLICY_TYPES_ROLE_TRUNK && !eni->excluded;
}

static pool measure(const onsen_snapshot *s) {
  pool p = {0};
  uint64_t assigned = 0;
  for (size_t at = 0; at < s->enis.len; at++) {
    const onsen_eni *eni = &s->enis.ptr[at];
    p.coming += eni->in_flight * onsen_addresses_per(s, eni->in_flight_unit);
    for (uint32_t place = 0; place < onsen_block_count(s, eni); place++) {
      onsen_block block = onsen_block_at(s, eni, place);
      assigned += block.assigned;
      if (serves_pods(eni)) {
        p.free += block.free;
        p.cooling += block.cooling;
      }
    }
  }
  p.waiting = (uint64_t)s->demand.waiting.len + s->demand.scheduled;
  p.wanted = p.waiting + (s->node.schedulable ? onsen_read(KEEP_FREE, &s->settings) : 0);
  if (s->node.max_pods > 0) p.wanted = least(p.wanted, less(s->node.max_pods, assigned));
  return p;
}

// Addresses to ask for. A pod that waits cannot use what cools.
static uint64_t missing_in(const pool *p) {
  uint64_t usable = p->free + p->coming;
  uint64_t for_waiting = less(least(p->waiting, p->wanted), usable);
  return most(less(p->wanted, usable + p->cooling), for_waiting);
}

// Addresses that could go.
static uint64_t spare_in(const pool *p) {
  return less(p->free + p->cooling + p->coming, p->wanted);
}

static onsen_unit unit_to_ask_for(const onsen_snapshot *s) {
  for (size_t at = 0; at < s->subnets.len; at++) {
    if (!s->subnets.ptr[at].own) continue;
    uint64_t none_at = s->subnets.ptr[at].no_prefixes_at;
    return none_at > 0 && none_at + NO_PREFIX > s->now ? ONSEN_ADDRESS : s->unit;
  }
  return s->unit;
}

static uint32_t blocks_for(uint64_t missing, uint64_t per_block, uint32_t room) {
  return (uint32_t)least((missing + per_block - 1) / per_block, room);
}

// Everything that is missing, in one step: first on ENIs with free slots, then on new ones.
static const char *grow(const onsen_snapshot *s, uint64_t missing, onsen_draft *draft) {
  if (s->ec2.throttled_until > s->now) {
    onsen_wake_after(draft, s->ec2.throttled_until - s->now);
    return "EC2 throttles";
  }
  const onsen_outcome *last = onsen_last_growth(s);
  if (last && last->code.len > 0 && last->at + RETRY > s->now) {
    onsen_wake_after(draft, last->at + RETRY - s->now);
    return "waits after a refusal";
  }
  onsen_unit unit = unit_to_ask_for(s);
  uint64_t per_block = onsen_addresses_per(s, unit);
  uint32_t calls = s->ec2.grow_budget, enis = 0, slots = s->limits.slots_per_eni;
  for (size_t at = 0; at < s->enis.len; at++) {
    const onsen_eni *eni = &s->enis.ptr[at];
    enis += eni->card == 0;
    if (missing == 0 || calls == 0 || !onsen_can_grow(eni)) continue;
    uint32_t count = blocks_for(missing, per_block, eni->free_slots);
    onsen_text name = onsen_name(eni);
    onsen_grow(draft, (uint32_t)at, unit, count,
               onsen_print("%" PRIu64 " missing: %u %s on %.*s.", missing, count,
                           onsen_counted(count, unit), (int)name.len, (const char *)name.ptr));
    missing = less(missing, count * per_block);
    calls--;
  }
  while (missing > 0 && calls > 0 && enis < s->limits.enis && slots > 0) {
    uint32_t blocks = blocks_for(missing, per_block, slots);
    onsen_attach(draft, unit, blocks,
                 onsen_print("%" PRIu64 " missing and no slot left: a new ENI with %u %s.", missing,
                             blocks, onsen_counted(blocks, unit)));
    missing = less(missing, blocks * per_block);
    calls--;
    enis++;
  }
  if (onsen_is_empty(draft)) return "no room to grow now";
  return missing == 0 ? "grows" : "grows as far as it can";
}

// What has been idle for long enough and is not wanted, newest ENI first.
static const char *shrink(const onsen_snapshot *s, uint64_t spare, onsen_draft *draft) {
  uint32_t seconds = onsen_read(IDLE_SECONDS, &s->settings);
  uint64_t idle = seconds * ONSEN_SECOND;
  uint32_t calls = s->ec2.release_budget;
  for (size_t at = s->enis.len; at-- > 0;) {
    const onsen_eni *eni = &s->enis.ptr[at];
    if (!serves_pods(eni) || eni->busy) continue;
    onsen_text name = onsen_name(eni);
    uint32_t count = onsen_block_count(s, eni);
    uint64_t addresses = 0;
    bool all_idle = true;
    for (uint32_t place = 0; place < count; place++) {
      onsen_block block = onsen_block_at(s, eni, place);
      addresses += block.addresses;
      all_idle = all_idle && block.releasable && block.idle_since + idle <= s->now;
    }
    bool unused = eni->idle_since + idle <= s->now;
    if (onsen_can_detach(eni) && unused && all_idle && addresses <= spare && calls > 0) {
      onsen_detach(draft, (uint32_t)at,
                   onsen_print("Idle for %u s and not wanted: %.*s goes.", seconds, (int)name.len,
                               (const char *)name.ptr));
      spare -= addresses;
      calls--;
      continue;
    }
    uint32_t *gone = malloc((count + 1) * sizeof *gone);
    if (!gone) abort();
    size_t blocks = 0;
    for (uint32_t place = count; place-- > 0;) {
      onsen_block block = onsen_block_at(s, eni, place);
      if (!block.releasable || block.addresses > spare) continue;
      if (block.idle_since + idle > s->now) {
        onsen_wake_after(draft, block.idle_since + idle - s->now);
      } else if (calls > 0) {
        gone[blocks++] = block.index;
        spare -= block.addresses;
      }
    }
    if (blocks == 0) {
      free(gone);
      continue;
    }
    onsen_release(draft, (uint32_t)at, gone, blocks,
                  onsen_print("Idle for %u s and not wanted: %zu of %.*s.", seconds, blocks,
                              (int)name.len, (const char *)name.ptr));
    calls--;
  }
  return onsen_is_empty(draft) ? "enough" : "gives back";
}

static onsen_decision decide(const onsen_snapshot *s) {
  onsen_draft draft = {0};
  if (s->node.terminating)
    return onsen_finish(&draft, ONSEN_PACK,
                        onsen_print("The node is shutting down: nothing is changed."));
  pool p = measure(s);
  uint64_t missing = missing_in(&p);
  if (s->demand.waiting.len > 0)
    onsen_pressure(&draft, 100);
  else if (missing > 0)
    onsen_pressure(&draft, least(missing * 100 / p.wanted, 99));
  const char *verdict = "enough";
  if (missing > 0)
    verdict = grow(s, missing, &draft);
  else if (p.waiting == 0)
    verdict = shrink(s, spare_in(&p), &draft);
  return onsen_finish(&draft, ONSEN_PACK,
                      onsen_print("%" PRIu64 " free, %" PRIu64 " cooling, %" PRIu64 " coming, %" PRIu64
                                  " waiting, %" PRIu64 " wanted: %s.",
                                  p.free, p.cooling, p.coming, p.waiting, p.wanted, verdict));
}

const onsen_policy POLICY = {
    .name = "keep-n-free",
    .version = "0.1.0",
    .doc = "Keeps N addresses free, covers waiting pods in one step, gives back what is idle.",
    .settings = SETTINGS,
    .setting_count = sizeof SETTINGS / sizeof *SETTINGS,
    .decide = decide,
};

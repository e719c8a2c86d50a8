// A node for unit tests.
#ifndef ONSEN_TESTING_H
#define ONSEN_TESTING_H

#include <stdlib.h>
#include <string.h>

#include "onsen.h"

#define ONSEN_TEXT(words) ((onsen_text){(uint8_t *)(words), strlen(words)})

// So many ENIs of so many slots at most, with single addresses. Each text is an ENI, NULL ends the
// list; each character is a block: '.' free and idle for an hour, 'p' held by a pod. Everything in
// the snapshot may be changed afterwards; a test's process gives the memory back when it ends.
static inline onsen_snapshot onsen_test_snapshot(uint64_t now, uint32_t max_enis, uint32_t slots,
                                                 const char *const *enis) {
  const uint64_t hour = 3600 * ONSEN_SECOND;
  size_t count = 0, blocks = 0, place = 0;
  while (enis[count]) blocks += strlen(enis[count++]);
  onsen_snapshot snapshot = {.decision_id = 1, .now = now, .uptime = hour};
  snapshot.node.instance_type = ONSEN_TEXT("m5.large");
  snapshot.node.zone = ONSEN_TEXT("eu-west-1a");
  snapshot.node.schedulable = true;
  snapshot.limits.enis = max_enis;
  snapshot.limits.slots_per_eni = slots;
  snapshot.limits.prefixes = true;
  snapshot.limits.addresses_per_prefix = 16;
  snapshot.ec2.grow_budget = 4;
  snapshot.ec2.release_budget = 4;
  snapshot.subnets.ptr = calloc(1, sizeof *snapshot.subnets.ptr);
  snapshot.subnets.len = 1;
  snapshot.subnets.ptr[0].id = ONSEN_TEXT("subnet-0");
  snapshot.subnets.ptr[0].own = true;
  snapshot.enis.ptr = calloc(count + 1, sizeof *snapshot.enis.ptr);
  snapshot.enis.len = count;
#define LIST(name)                                                                       \
  snapshot.blocks.name.ptr = calloc(blocks + 1, sizeof *snapshot.blocks.name.ptr);       \
  snapshot.blocks.name.len = blocks
  LIST(base);
  LIST(length);
  LIST(assigned);
  LIST(cooling);
  LIST(cooling_until);
  LIST(idle_since);
  LIST(free);
  LIST(releasable);
#undef LIST
  for (size_t at = 0; at < count; at++) {
    onsen_eni *eni = &snapshot.enis.ptr[at];
    uint32_t size = (uint32_t)strlen(enis[at]);
    eni->id = at == 0 ? ONSEN_TEXT("eni-0") : at == 1 ? ONSEN_TEXT("eni-1") : ONSEN_TEXT("eni-n");
    eni->role = at == 0 ? ONSEN_POLICY_TYPES_ROLE_PRIMARY : ONSEN_POLICY_TYPES_ROLE_SECONDARY;
    eni->state = ONSEN_POLICY_TYPES_ENI_STATE_READY;
    eni->device_index = (uint32_t)at;
    eni->since = now - hour;
    eni->idle_since = strchr(enis[at], 'p') ? 0 : now - hour;
    eni->free_slots = slots - size;
    eni->first_block = (uint32_t)place;
    eni->block_count = size;
    eni->keep.is_some = at == 0 || strchr(enis[at], 'p');
    eni->keep.val = at == 0 ? ONSEN_POLICY_TYPES_KEEP_REASON_PRIMARY
                            : ONSEN_POLICY_TYPES_KEEP_REASON_ASSIGNED;
    for (uint32_t block = 0; block < size; block++, place++) {
      bool pod = enis[at][block] == 'p';
      snapshot.blocks.base.ptr[place] = 0x0a000000 + place;
      snapshot.blocks.length.ptr[place] = 32;
      snapshot.blocks.assigned.ptr[place] = pod;
      snapshot.blocks.free.ptr[place] = !pod;
      snapshot.blocks.releasable.ptr[place] = !pod;
      snapshot.blocks.idle_since.ptr[place] = pod ? 0 : now - hour;
    }
  }
  return snapshot;
}

#endif

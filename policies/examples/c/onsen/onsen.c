#include "onsen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The host reads so many actions of one decision.
#define MAX_ACTIONS 64

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void *must(void *memory) {
  if (!memory) abort();
  return memory;
}

static size_t known_blocks(const onsen_snapshot *snapshot) {
  const onsen_policy_types_blocks_t *lists = &snapshot->blocks;
  size_t known = least(lists->base.len, lists->length.len);
  known = least(known, least(lists->assigned.len, lists->cooling.len));
  known = least(known, least(lists->cooling_until.len, lists->idle_since.len));
  return least(known, least(lists->free.len, lists->releasable.len));
}

uint32_t onsen_block_count(const onsen_snapshot *snapshot, const onsen_eni *eni) {
  size_t known = known_blocks(snapshot);
  size_t first = least(eni->first_block, known);
  return (uint32_t)least(eni->block_count, known - first);
}

onsen_block onsen_block_at(const onsen_snapshot *snapshot, const onsen_eni *eni, uint32_t place) {
  const onsen_policy_types_blocks_t *lists = &snapshot->blocks;
  uint32_t at = eni->first_block + place;
  uint8_t length = lists->length.ptr[at];
  onsen_unit unit = length == 32 || length == 128 ? ONSEN_ADDRESS : ONSEN_PREFIX;
  return (onsen_block){
      .index = at,
      .unit = unit,
      .addresses = (uint32_t)onsen_addresses_per(snapshot, unit),
      .assigned = lists->assigned.ptr[at],
      .cooling = lists->cooling.ptr[at],
      .free = lists->free.ptr[at],
      .cooling_until = lists->cooling_until.ptr[at],
      .idle_since = lists->idle_since.ptr[at],
      .releasable = lists->releasable.ptr[at],
  };
}

bool onsen_can_grow(const onsen_eni *eni) {
  return eni->state == ONSEN_POLICY_TYPES_ENI_STATE_READY &&
         eni->role != ONSEN_POLICY_TYPES_ROLE_TRUNK && eni->free_slots > 0 && !eni->busy && !eni->excluded;
}

bool onsen_can_detach(const onsen_eni *eni) {
  return !eni->keep.is_some && eni->state == ONSEN_POLICY_TYPES_ENI_STATE_READY;
}

onsen_text onsen_name(const onsen_eni *eni) {
  static uint8_t nameless[] = "a new ENI";
  return eni->id.len > 0 ? eni->id : (onsen_text){nameless, sizeof nameless - 1};
}

uint64_t onsen_addresses_per(const onsen_snapshot *snapshot, onsen_unit unit) {
  uint32_t per_prefix = snapshot->limits.addresses_per_prefix;
  return unit == ONSEN_ADDRESS || per_prefix == 0 ? 1 : per_prefix;
}

const onsen_outcome *onsen_last_growth(const onsen_snapshot *snapshot) {
  for (size_t at = snapshot->ec2.outcomes.len; at > 0; at--) {
    const onsen_outcome *outcome = &snapshot->ec2.outcomes.ptr[at - 1];
    if (outcome->operation == ONSEN_POLICY_TYPES_OPERATION_GROW ||
        outcome->operation == ONSEN_POLICY_TYPES_OPERATION_ATTACH_ENI)
      return outcome;
  }
  return NULL;
}

static bool is(onsen_text text, const char *word) {
  return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static bool number_in(onsen_text text, const onsen_integer *range, uint32_t *value) {
  size_t at = text.len > 0 && text.ptr[0] == '+';
  uint64_t read = 0;
  if (at == text.len) return false;
  for (; at < text.len; at++) {
    if (text.ptr[at] < '0' || text.ptr[at] > '9' || read > UINT32_MAX) return false;
    read = read * 10 + (uint64_t)(text.ptr[at] - '0');
  }
  *value = (uint32_t)read;
  return read >= range->min && read <= range->max;
}

uint32_t onsen_read(const onsen_integer *setting, const onsen_settings *given) {
  for (size_t at = 0; at < given->len; at++) {
    uint32_t value;
    if (is(given->ptr[at].key, setting->key))
      return number_in(given->ptr[at].value, setting, &value) ? value : setting->fallback;
  }
  return setting->fallback;
}

size_t onsen_problem(const onsen_policy *policy, const onsen_settings *given, size_t place,
                     char *message, size_t room) {
  onsen_text value = given->ptr[place].value;
  for (size_t at = 0; at < policy->setting_count; at++) {
    const onsen_integer *setting = &policy->settings[at];
    uint32_t ignored;
    if (!is(given->ptr[place].key, setting->key) || value.len == 0 ||
        number_in(value, setting, &ignored))
      continue;
    int length = snprintf(message, room, "\"%.*s\" is not a whole number from %u to %u; %u is used",
                          (int)least(value.len, 100), (const char *)value.ptr, setting->min,
                          setting->max, setting->fallback);
    return length < 0 ? 0 : least((size_t)length, room - 1);
  }
  return 0;
}

onsen_text onsen_print(const char *format, ...) {
  char buffer[256];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  size_t kept = length < 0 ? 0 : least((size_t)length, sizeof buffer - 1);
  onsen_text text = {must(malloc(kept + 1)), kept};
  memcpy(text.ptr, buffer, kept);
  return text;
}

const char *onsen_counted(uint32_t count, onsen_unit unit) {
  if (unit == ONSEN_ADDRESS) return count == 1 ? "address" : "addresses";
  return count == 1 ? "prefix" : "prefixes";
}

static void push(onsen_draft *draft, onsen_policy_types_request_t request, onsen_text reason) {
  onsen_policy_types_list_action_t *actions = &draft->decision.actions;
  if (actions->len == 0) actions->ptr = must(calloc(MAX_ACTIONS, sizeof *actions->ptr));
  if (actions->len == MAX_ACTIONS) {
    free(reason.ptr);
    if (request.tag == ONSEN_POLICY_TYPES_REQUEST_RELEASE) free(request.val.release.blocks.ptr);
    return;
  }
  actions->ptr[actions->len++] = (onsen_policy_types_action_t){request, reason};
}

void onsen_grow(onsen_draft *draft, uint32_t eni, onsen_unit unit, uint32_t count, onsen_text reason) {
  onsen_policy_types_request_t request = {.tag = ONSEN_POLICY_TYPES_REQUEST_GROW};
  request.val.grow = (onsen_policy_types_grow_t){eni, unit, count};
  push(draft, request, reason);
}

void onsen_attach(onsen_draft *draft, onsen_unit unit, uint32_t blocks, onsen_text reason) {
  onsen_policy_types_request_t request = {.tag = ONSEN_POLICY_TYPES_REQUEST_ATTACH_ENI};
  request.val.attach_eni = (onsen_policy_types_attach_eni_t){.unit = unit, .blocks = blocks};
  push(draft, request, reason);
}

void onsen_release(onsen_draft *draft, uint32_t eni, uint32_t *blocks, size_t count, onsen_text reason) {
  onsen_policy_types_request_t request = {.tag = ONSEN_POLICY_TYPES_REQUEST_RELEASE};
  request.val.release = (onsen_policy_types_release_t){eni, {blocks, count}};
  push(draft, request, reason);
}

void onsen_detach(onsen_draft *draft, uint32_t eni, onsen_text reason) {
  onsen_policy_types_request_t request = {.tag = ONSEN_POLICY_TYPES_REQUEST_DETACH_ENI};
  request.val.detach_eni = eni;
  push(draft, request, reason);
}

void onsen_wake_after(onsen_draft *draft, uint64_t milliseconds) {
  onsen_policy_types_option_duration_t *wake = &draft->decision.wake_after;
  if (!wake->is_some || milliseconds < wake->val) wake->val = milliseconds;
  wake->is_some = true;
}

void onsen_pressure(onsen_draft *draft, uint64_t pressure) {
  uint8_t told = (uint8_t)least(pressure, 100);
  if (told > draft->decision.pressure) draft->decision.pressure = told;
}

bool onsen_is_empty(const onsen_draft *draft) { return draft->decision.actions.len == 0; }

onsen_decision onsen_finish(onsen_draft *draft, uint8_t placement, onsen_text reason) {
  draft->decision.placement = placement;
  draft->decision.reason = reason;
  return draft->decision;
}

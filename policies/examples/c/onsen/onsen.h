// Dresses up the contract for people: short names, blocks as values, a draft of the decision,
// settings with ranges. The types are documented in wit/policy.wit.
#ifndef ONSEN_H
#define ONSEN_H

#include "ipam_policy.h"

typedef onsen_policy_types_snapshot_t onsen_snapshot;
typedef onsen_policy_types_decision_t onsen_decision;
typedef onsen_policy_types_eni_t onsen_eni;
typedef onsen_policy_types_outcome_t onsen_outcome;
typedef onsen_policy_types_list_setting_t onsen_settings;
typedef ipam_policy_string_t onsen_text;
typedef uint8_t onsen_unit;

enum { ONSEN_ADDRESS = ONSEN_POLICY_TYPES_UNIT_ADDRESS, ONSEN_PREFIX = ONSEN_POLICY_TYPES_UNIT_PREFIX };
enum {
  ONSEN_PACK = ONSEN_POLICY_TYPES_PLACEMENT_PACK,
  ONSEN_SPREAD = ONSEN_POLICY_TYPES_PLACEMENT_SPREAD,
  ONSEN_ADDRESSES_FIRST = ONSEN_POLICY_TYPES_PLACEMENT_ADDRESSES_FIRST,
};

// One second in the contract's unit of time.
#define ONSEN_SECOND UINT64_C(1000)

// A setting: a whole number. A value that is no number or lies outside the range reads as the
// default.
typedef struct {
  const char *key;
  uint32_t fallback, min, max;
  const char *doc;
} onsen_integer;

// A policy, as its author writes it. `decide` gives a decision made by `onsen_finish`.
typedef struct {
  const char *name, *version, *doc;
  const onsen_integer *settings;
  size_t setting_count;
  onsen_decision (*decide)(const onsen_snapshot *snapshot);
} onsen_policy;

// The one that policy.c defines.
extern const onsen_policy POLICY;

// One block as a value; `index` is its place in the lists of the snapshot's blocks.
typedef struct {
  uint32_t index;
  onsen_unit unit;
  uint32_t addresses, assigned, cooling, free;
  uint64_t cooling_until, idle_since;
  bool releasable;
} onsen_block;

// Blocks of an ENI. Lists that do not fit together give fewer blocks.
uint32_t onsen_block_count(const onsen_snapshot *snapshot, const onsen_eni *eni);
// The block at this place among those of the ENI, lowest address first.
onsen_block onsen_block_at(const onsen_snapshot *snapshot, const onsen_eni *eni, uint32_t place);
// Whether more blocks can be asked for on it now.
bool onsen_can_grow(const onsen_eni *eni);
// Whether the host would let it go.
bool onsen_can_detach(const onsen_eni *eni);
// Its id, or a word for an ENI that has none yet; for `%.*s`.
onsen_text onsen_name(const onsen_eni *eni);
// Addresses in one block of this unit.
uint64_t onsen_addresses_per(const onsen_snapshot *snapshot, onsen_unit unit);
// The newest outcome of a call to get more; NULL when there is none.
const onsen_outcome *onsen_last_growth(const onsen_snapshot *snapshot);

// The value in force.
uint32_t onsen_read(const onsen_integer *setting, const onsen_settings *given);
// What is wrong with the setting at this place; 0 when nothing is, else the length of the message.
size_t onsen_problem(const onsen_policy *policy, const onsen_settings *given, size_t place,
                     char *message, size_t room);

// A text of our own, printed like printf.
onsen_text onsen_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
// "address", "prefixes": the word after so many.
const char *onsen_counted(uint32_t count, onsen_unit unit);

// A decision in the making; starts as `{0}`. The host reads 64 actions; the earliest wish to be
// asked again wins; the highest pressure counts.
typedef struct {
  onsen_decision decision;
} onsen_draft;

// Reasons are texts made by `onsen_print`; the draft owns them, and the list of blocks.
void onsen_grow(onsen_draft *draft, uint32_t eni, onsen_unit unit, uint32_t count, onsen_text reason);
// A new ENI on network card 0, in the node's own subnet.
void onsen_attach(onsen_draft *draft, onsen_unit unit, uint32_t blocks, onsen_text reason);
void onsen_release(onsen_draft *draft, uint32_t eni, uint32_t *blocks, size_t count, onsen_text reason);
void onsen_detach(onsen_draft *draft, uint32_t eni, onsen_text reason);
void onsen_wake_after(onsen_draft *draft, uint64_t milliseconds);
void onsen_pressure(onsen_draft *draft, uint64_t pressure);
bool onsen_is_empty(const onsen_draft *draft);
onsen_decision onsen_finish(onsen_draft *draft, uint8_t placement, onsen_text reason);

#endif
